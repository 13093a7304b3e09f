"""Procedural frontal chest radiographs with five findings whose pixels are known: to teach, to test, never to publish.

Anatomy is drawn in continuous coordinates (x to the right, y down, the image is the unit square) as attenuation that
adds up along the ray, then exposed. Everything is a function of (seed, index); the size only samples it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter

from attrinet.data import annotations as notes
from attrinet.data.manifest import split_by_patient
from attrinet.data.phantom_bedside import bedside_film, draw_bedside
from attrinet.data.phantom_canvas import Canvas, smooth
from attrinet.data.source import Source
from attrinet.errors import AttrinetError

FINDINGS = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
FRACTIONS = {"train": 0.7, "valid": 0.1, "test": 0.2}
STANDING, BEDSIDE = "PA", "AP"  # views
MASK_LEVEL = 0.25  # a lesion's mask is where it adds at least this share of its strongest attenuation


@dataclass(frozen=True)
class Phantom:
    """image: (size, size) float32 attenuation-like grey, larger is brighter. labels: (5,) int8 in FINDINGS' order.
    masks: (5, size, size) bool, the pixels a finding changes; empty where it is absent."""

    image: np.ndarray
    labels: np.ndarray
    masks: np.ndarray


def draw_labels(random: np.random.Generator) -> np.ndarray:
    """(5,) int8. Two latent diseases make findings come together as on real wards: heart failure (cardiomegaly, edema,
    effusion) and infection (consolidation, with effusion and atelectasis beside it)."""
    failure, infection = random.random() < 0.28, random.random() < 0.24
    chance = {
        "Atelectasis": 0.12 + 0.16 * infection + 0.10 * failure,
        "Cardiomegaly": 0.08 + 0.50 * failure,
        "Consolidation": 0.05 + 0.60 * infection,
        "Edema": 0.03 + 0.48 * failure,
        "Pleural Effusion": 0.06 + 0.40 * failure + 0.22 * infection,
    }
    return np.array([random.random() < chance[name] for name in FINDINGS], np.int8)


def phantom(
    seed: int, index: int, size: int, findings: Sequence[str] | None = None, bedside: bool = False
) -> Phantom:
    """Radiograph number `index` of a series: the same anatomy at every size.

    findings: force exactly these on the same patient and exposure instead of the drawn ones, for instance () for the
    counterfactual twin without disease. bedside: the patient lies in bed (phantom_bedside.py). Raises AttrinetError for
    unknown names.
    """
    labels = draw_labels(np.random.default_rng([seed, index, 0]))
    if findings is not None:
        unknown = set(findings) - set(FINDINGS)
        if unknown:
            raise AttrinetError(f"unknown phantom finding {sorted(unknown)[0]!r}; there are {', '.join(FINDINGS)}")
        labels = np.array([name in findings for name in FINDINGS], np.int8)
    canvas = Canvas(seed, index, size)
    body, lungs = anatomy(canvas)
    lesions = [lesion(canvas, lungs) if on else None
               for lesion, on in zip((atelectasis, cardiomegaly, consolidation, edema, effusion), labels, strict=True)]
    thickness = body + sum(added for added in lesions if added is not None)
    masks = np.stack([np.zeros((size, size), bool) if a is None else a >= MASK_LEVEL * a.max() for a in lesions])
    if bedside:
        thickness = bedside_film(canvas, thickness)
    return Phantom(expose(canvas, thickness), labels, masks)


# ---- anatomy


@dataclass(frozen=True)
class Lungs:
    """air: (size, size) aerated lung, 0 … 1; sides: right and left alone; floor: y of each dome; centers: x of each;
    normal_heart: the patient's own silhouette."""

    air: np.ndarray
    sides: tuple[np.ndarray, np.ndarray]
    floor: tuple[np.ndarray, np.ndarray]
    centers: tuple[float, float]
    normal_heart: np.ndarray
    chest: np.ndarray
    """both lungs as if there were no heart"""


def heart_outline(c: Canvas, factor: float) -> np.ndarray:
    """The heart's silhouette, 0 … 1: a pear that points down to the left chest wall, its width times `factor`."""
    w, h = factor * c.width, c.height * (0.55 + 0.45 * factor)
    x, y = (c.x - 0.5) / w, (c.y - 0.60 * c.height) / h
    ax, ay, bx, by = -0.012, -0.050, 0.070, 0.045  # from the great vessels to the apex
    t = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2), 0, 1)
    distance = np.sqrt((x - ax - t * (bx - ax)) ** 2 + (y - ay - t * (by - ay)) ** 2)
    ventricles = smooth((0.072 + 0.022 * t - distance) / 0.016)
    atrium = smooth((1 - np.sqrt(((x + 0.030) / 0.062) ** 2 + ((y - 0.015) / 0.095) ** 2)) * 0.062 / 0.016)
    return np.maximum(ventricles, atrium)


def lungs_of(c: Canvas) -> Lungs:
    p = c.random(2)
    heart = heart_outline(c, c.heart)
    whole, floors, centers = [], [], []
    for side in (-1, 1):
        cx = 0.5 + side * 0.180 * c.width
        dome = (0.690 if side < 0 else 0.715) * c.height + p.normal(0, 0.014)
        outward = side * (c.x - 0.5) / c.width
        # dome of the diaphragm, falling towards the chest wall (costophrenic angle) and a little towards the spine
        floor = dome + 2.2 * np.clip(outward - 0.17, 0, None) ** 1.5 + 0.25 * np.clip(0.13 - outward, 0, None)
        upper = c.ellipse(cx, 0.44 * c.height, 0.130 * c.width, 0.335 * c.height, 0.016)
        lower = c.ellipse(cx + side * 0.014, 0.62 * c.height, 0.146 * c.width, 0.36 * c.height, 0.016)
        lung = np.maximum(upper, lower) * smooth((floor - c.y) / 0.010) * smooth((outward - 0.042) / 0.014)
        whole.append(lung)
        floors.append(floor)
        centers.append(cx)
    right, left = (lung * (1 - COVER * heart) for lung in whole)
    return Lungs(np.maximum(right, left), (right, left), (floors[0], floors[1]), (centers[0], centers[1]), heart,
                 np.maximum(*whole))


COVER = 0.92  # share of the lung that the heart hides
AIR = 0.78  # attenuation that an aerated lung lacks
HEART = 0.20  # and that blood adds to soft tissue


def anatomy(c: Canvas) -> tuple[np.ndarray, Lungs]:
    """Attenuation of a healthy patient and the lungs."""
    p = c.random(3)
    lungs = lungs_of(c)
    off = np.abs(c.x - 0.5) / c.width
    shoulder = 0.085 + 1.05 * np.clip(off - 0.085, 0, None) ** 1.35 + p.normal(0, 0.012)
    half = 0.415 + 0.13 * np.exp(-(((c.y - 0.20) / 0.13) ** 2)) + 0.03 * np.clip(c.y - 0.5, 0, None)
    trunk = smooth((c.y - shoulder) / 0.020) * smooth((half - off) / 0.018)
    arms = smooth((0.085 - np.abs(off - 0.53 - 0.10 * np.clip(c.y - 0.3, 0, None))) / 0.03)
    arms = arms * smooth((c.y - 0.26) / 0.05)
    neck = smooth((0.082 - np.abs(c.x - 0.5)) / 0.02) * smooth((0.2 - c.y) / 0.05)
    soft = np.maximum.reduce([trunk, 0.85 * arms * p.uniform(0.3, 1.0), 0.95 * neck])
    soft = soft * (1 - 0.22 * smooth((off - 0.30) / 0.10))  # thinner towards the flanks
    breast = p.uniform(0, 0.20)
    breasts = breast * sum(c.ellipse(x, 0.66 * c.height, 0.135, 0.125, 0.045) for x in lungs.centers)
    below = np.where(c.x < 0.5, lungs.floor[0], lungs.floor[1])
    belly = smooth((c.y - below) / 0.020) * trunk
    vertebrae = 1 + 0.12 * np.sin(c.y * 2 * np.pi / 0.05)
    spine = np.exp(-(((c.x - 0.5) / 0.034) ** 2)) * np.maximum(trunk, neck) * vertebrae
    mediastinum = smooth((0.050 + 0.012 * np.sin(6 * c.y) - off) / 0.018) * trunk * smooth((c.y - 0.10) / 0.05)
    arch = c.ellipse(0.5 + 0.050 * c.width, 0.335 * c.height, 0.034, 0.046, 0.014)
    hila = sum(c.ellipse(0.5 + s * 0.080 * c.width, 0.470 * c.height, 0.036, 0.060, 0.034) for s in (-1, 1))
    trachea = c.band(0.5 + p.normal(0, 0.005), 0.02, 0.5, 0.37 * c.height, 0.013)

    tissue = soft + breasts + 0.30 * belly + 0.20 * spine + 0.20 * np.maximum(mediastinum, arch) - 0.17 * trachea
    tissue += HEART * lungs.normal_heart * trunk + 0.20 * hila * lungs.air
    tissue += lungs.air * (0.075 * vessels(c) - AIR)
    tissue += 0.030 * c.texture(13, 0.03) * soft
    return tissue + bones(c, p), lungs


def bones(c: Canvas, p: np.random.Generator) -> np.ndarray:
    """Ribs, posterior ones bent down outwards, anterior ones fainter and the other way; collar bones; blades."""
    out = np.zeros_like(c.x)
    strength = p.uniform(0.08, 0.14)
    inside = smooth((0.335 * c.width - np.abs(c.x - 0.5)) / 0.03)
    distance = np.abs(c.x - 0.5)
    gap = 0.068 * c.height * p.uniform(0.95, 1.05)
    phase = (c.y - 0.17 * c.height - 0.55 * np.sqrt(distance**2 + 0.01) * (0.35 + 0.65 * c.y) + 0.05) / gap
    inside = inside * smooth((distance - 0.03) / 0.03)
    out += strength * inside * _ribs(phase) * smooth((c.y - 0.14) / 0.03) * smooth((0.74 * c.height - c.y) / 0.06)
    front = (c.y - 0.20 * c.height + 0.75 * np.clip(distance - 0.05, 0, None)) / (1.35 * gap)
    out += 0.55 * strength * inside * _ribs(front) * smooth((c.y - 0.2) / 0.05) * smooth((distance - 0.10) / 0.03) \
        * smooth((0.72 * c.height - c.y) / 0.05)
    for side in (-1, 1):
        lift = p.normal(0, 0.010)
        out += 0.17 * c.band(0.5 + side * 0.035, 0.175, 0.5 + side * 0.30 * c.width, 0.115 + lift, 0.012)
        out += 0.08 * c.band(0.5 + side * 0.36 * c.width, 0.17, 0.5 + side * 0.31 * c.width, 0.44, 0.024)
    return out


def _ribs(phase: np.ndarray) -> np.ndarray:
    return np.clip(np.cos(2 * np.pi * phase), 0, None) ** 1.5


def vessels(c: Canvas) -> np.ndarray:
    """Lung markings: fine texture, stronger towards the hila."""
    near = np.exp(-(((np.abs(c.x - 0.5) - 0.08) / 0.13) ** 2) - ((c.y - 0.5) / 0.24) ** 2)
    return c.texture(10, 0.013) * (0.45 + 1.5 * near)


def expose(c: Canvas, thickness: np.ndarray) -> np.ndarray:
    """Attenuation → film: gamma and offset of the exposure, scatter, quantum noise, collimation, side marker."""
    p = c.random(4)
    image = thickness + p.uniform(0.03, 0.09) * c.texture(11, 0.16)
    image = np.clip(image, 0, None) ** p.uniform(0.85, 1.25)
    image = gaussian_filter(image, 0.0035 * c.size)  # focal spot and screen
    image += p.uniform(0.008, 0.020) * noise(c)
    x, y = c.film
    if p.random() < 0.25:  # collimated edge
        margin = p.uniform(0.01, 0.05)
        edge = np.minimum(x, 1 - x) if p.random() < 0.5 else np.minimum(y, 1 - y)
        image = image * smooth((edge - margin) / 0.004)
    if p.random() < 0.5:  # side marker, on either side whatever the finding
        mx, my = p.choice([0.07, 0.93]), p.uniform(0.06, 0.2)
        ring = np.maximum(np.abs(x - mx), np.abs(y - my) * 0.7)
        image = image + 0.9 * smooth((0.020 - np.abs(ring - 0.012)) / 0.01) * (ring < 0.024)
    return image.astype(np.float32)


def noise(c: Canvas) -> np.ndarray:
    return c.random(12).normal(size=(c.size, c.size))


# ---- findings: what each adds to the attenuation


def _severity(c: Canvas, purpose: int, low: float, high: float) -> tuple[np.random.Generator, float]:
    p = c.random(purpose)
    return p, p.uniform(low, high)


def cardiomegaly(c: Canvas, lungs: Lungs) -> np.ndarray:
    """The part of an enlarged heart beyond the patient's normal one: a rim on both sides, widest on the left."""
    _, factor = _severity(c, 21, 1.26, 1.62)
    beyond = np.clip(heart_outline(c, c.heart * factor) - lungs.normal_heart, 0, 1)
    return beyond * (HEART + AIR * COVER * lungs.chest)


def effusion(c: Canvas, lungs: Lungs) -> np.ndarray:
    """Fluid on the lung base with a meniscus that climbs the chest wall; on one side or both."""
    p, depth = _severity(c, 25, 0.07, 0.22)
    out = np.zeros_like(c.x)
    for k in [(0,), (1,), (0, 1)][p.choice(3, p=[0.3, 0.3, 0.4])]:
        side = (-1, 1)[k]
        wall = side * (c.x - lungs.centers[k]) / (0.15 * c.width)
        dome = (0.700, 0.725)[k] * c.height
        level = dome - depth * p.uniform(0.7, 1.0) * (0.70 + 0.55 * np.clip(wall, -0.2, 1.2) * np.abs(wall))
        out = np.maximum(out, smooth((c.y - level) / 0.022) * lungs.sides[k])
    return 0.80 * AIR * out


def consolidation(c: Canvas, lungs: Lungs) -> np.ndarray:
    """One or two fuzzy patches inside a lung, mottled by air that is left."""
    p, strength = _severity(c, 23, 0.30, 0.52)
    out = np.zeros_like(c.x)
    for _ in range(1 + (p.random() < 0.35)):
        k = p.integers(2)
        cx = lungs.centers[k] + p.uniform(-0.03, 0.05) * c.width * (-1, 1)[k]
        cy = p.uniform(0.28, 0.60) * c.height
        u, v = (c.x - cx) / p.uniform(0.060, 0.095), (c.y - cy) / p.uniform(0.060, 0.105)
        ragged = 1 + 0.25 * c.texture(33, 0.05)
        out = np.maximum(out, smooth((ragged - np.sqrt(u * u + v * v)) / 0.55) * lungs.sides[k])
    return strength * np.clip(out * (1 + 0.25 * c.texture(31, 0.018)), 0, None)


def edema(c: Canvas, lungs: Lungs) -> np.ndarray:
    """Bat-wing haze around both hila with thickened markings."""
    _, strength = _severity(c, 24, 0.22, 0.40)
    wings = sum(
        np.exp(-(((c.x - 0.5 - s * 0.145 * c.width) / 0.105) ** 2) - ((c.y - 0.48 * c.height) / 0.19) ** 2)
        for s in (-1, 1)
    )
    return strength * np.clip(wings * (1 + 0.35 * c.texture(32, 0.014)), 0, None) * lungs.air


def atelectasis(c: Canvas, lungs: Lungs) -> np.ndarray:
    """One to three plate-like bands across the lower half of a lung."""
    p, strength = _severity(c, 22, 0.32, 0.52)
    k = p.integers(2)
    out = np.zeros_like(c.x)
    y = p.uniform(0.50, 0.58) * c.height
    for _ in range(1 + p.integers(3)):
        slope, half = p.uniform(-0.05, 0.05), p.uniform(0.075, 0.115) * c.width
        cx = lungs.centers[k] + (-1, 1)[k] * p.uniform(0, 0.03)
        plate = c.band(cx - half, y - slope, cx + half, y + slope, p.uniform(0.009, 0.014))
        out = np.maximum(out, plate * lungs.sides[k])
        y += p.uniform(0.035, 0.055)
    return strength * out


# ---- the adapter


def read_phantom(source: str) -> np.ndarray:
    """`phantom:<seed>:<index>:<size>:<view>` → its image, as attrinet.data.images.read_grey would give it."""
    seed, index, size, view = source.split(":")[1:]
    return phantom(int(seed), int(index), int(size), bedside=view == BEDSIDE).image


def phantom_source(
    n: int, size: int, seed: int = 0, fractions: Mapping[str, float] = FRACTIONS, bedside: float = 0.0
) -> Source:
    """`n` phantoms, one a patient, every lesion annotated by its mask.

    bedside: this share of the patients with a finding, and a tenth of those without any, are imaged in bed (view AP);
    0: everybody stands (PA). Raises AttrinetError for n or size too small and for a share outside [0, 1].
    """
    if n < 1 or size < 32:
        raise AttrinetError(f"n={n}, size={size}: want at least one phantom of at least 32 pixels")
    if not 0 <= bedside <= 1:
        raise AttrinetError(f"bedside={bedside}: want a share between 0 and 1")
    ids = [f"phantom-{seed}-{index:06d}" for index in range(n)]
    labels = np.stack([draw_labels(np.random.default_rng([seed, index, 0])) for index in range(n)])
    views = [BEDSIDE if draw_bedside(np.random.default_rng([seed, index, 5]), bool(labels[index].any()), bedside)
             else STANDING for index in range(n)]
    manifest = pd.DataFrame({
        "id": ids,
        "source": [f"phantom:{seed}:{index}:{size}:{view}" for index, view in enumerate(views)],
        "patient": ids,
        "split": split_by_patient(ids, fractions, seed),
        "view": views,
        **{name: pd.array(labels[:, c], dtype="Int8") for c, name in enumerate(FINDINGS)},
    })
    rows = [row for index, id in enumerate(ids) if labels[index].any() for row in _annotations(seed, index, size, id)]
    options = {"n": n, "size": size, "seed": seed, "fractions": dict(fractions), "bedside": bedside}
    return Source("phantom", FINDINGS, manifest, notes.table(rows), read_phantom, {}, options)


def _annotations(seed: int, index: int, size: int, id: str) -> list[dict]:
    masks = phantom(seed, index, size).masks
    return [notes.mask_row(id, FINDINGS[c], mask) for c, mask in enumerate(masks) if mask.any()]
