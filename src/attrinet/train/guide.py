"""Guidance masks of a run from the annotations of its store (§3.5, §4.1.2)."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from attrinet.data.sampling import generator_for
from attrinet.data.shortcut import tag_region
from attrinet.data.store import Store
from attrinet.errors import AttrinetError
from attrinet.guidance import MODES, Guidance, all_but, center_square, class_mask
from attrinet.train.config import Config, GuidanceConfig

NO_ANNOTATIONS = ("given", "shortcut")  # modes that use none
NEEDS_MASKS = ("full", "box-only")  # modes that guide annotated images alone
UNREAD = {  # options that guide nothing under a mode
    "given": ("annotated_rate", "per_finding", "counts"),
    "shortcut": ("annotated_rate", "per_finding", "counts", "center_square"),
    **dict.fromkeys(NEEDS_MASKS, ("masks", "center_square")),
}
UNGUIDED = GuidanceConfig()
GUIDANCE_KEY = 1_000_003  # keeps the draw of annotated images apart from the other uses of the seed


def build_guidance(config: Config, store: Store, train: np.ndarray) -> tuple[Guidance | None, np.ndarray]:
    """Guidance of a run (None for mode none) and which images count as annotated, (N, C) bool.

    Only annotations of training images that are positive for the finding are used; guidance.per_finding, or
    guidance.counts for single findings, draws so many of them, seeded (Table 1). Raises AttrinetError for unknown modes
    and findings, unusable mask files, modes full and box-only where nothing is annotated, and mode shortcut on a store
    without a tag of known place.
    """
    chosen = np.zeros((len(store), len(store.findings)), bool)
    settings = config.guidance
    if settings.mode not in MODES:
        raise AttrinetError(f"guidance.mode={settings.mode!r}: choose one of {', '.join(MODES)}")
    ignored = [f"guidance.{name}" for name, value in asdict(settings).items() if value != getattr(UNGUIDED, name)]
    if settings.mode == "none" and ignored:
        warnings.warn(f"guidance.mode=none: {', '.join(ignored)} guides nothing without a mode, one of "
                      f"{', '.join(list(MODES)[1:])}", stacklevel=2)
    if unread := [name for name in ignored if name.removeprefix("guidance.") in UNREAD.get(settings.mode, ())]:
        warnings.warn(f"guidance.mode={settings.mode}: does not read {', '.join(unread)}", stacklevel=2)
    if settings.mode == "none" or not config.losses.guidance:
        return None, chosen
    class_masks = np.empty((len(store.findings), store.size, store.size), np.float32)
    for option, names in (("masks", settings.masks), ("counts", settings.counts)):
        unknown = sorted(set(names) - set(store.findings))
        if unknown:
            raise AttrinetError(f"guidance.{option}: {unknown[0]!r} is none of the findings "
                                f"{', '.join(store.findings)}")
    given = {name: read_mask(path, store.size) for name, path in settings.masks.items()}
    elsewhere = away_from_tag(store) if settings.mode == "shortcut" else None
    for c, name in enumerate(store.findings):
        rows = [r for r in train
                if store.labels[r, c] == 1 and (mask := store.mask(r, c)) is not None and mask.any()]
        count = settings.counts.get(name, settings.per_finding)
        if count is not None and len(rows) > count:
            random = generator_for(config.run.seed, GUIDANCE_KEY, c)
            rows = sorted(random.choice(rows, count, replace=False))
        chosen[rows, c] = settings.mode not in NO_ANNOTATIONS
        if name in given:
            class_masks[c] = given[name]
        elif elsewhere is not None:
            class_masks[c] = elsewhere
        elif settings.mode == "given":
            class_masks[c] = center_square(store.size, settings.center_square)
        else:
            class_masks[c] = class_mask([store.mask(r, c) for r in rows], settings.mode, store.size,
                                        settings.center_square)

    if settings.mode not in NO_ANNOTATIONS and not chosen.any():
        none = f"{store.path}: no training image that has a finding has a box or mask of it"
        if settings.mode in NEEDS_MASKS:
            raise AttrinetError(f"{none}, and guidance.mode={settings.mode} needs annotated images; prepare the store "
                                "with them, or choose another mode")
        if set(store.findings) - set(given):
            warnings.warn(f"{none}: guidance.mode={settings.mode} guides onto the centred square alone; prepare the "
                          "store with annotations, or give masks (guidance.masks)", stacklevel=2)

    def own(row: int, finding: int) -> np.ndarray | None:
        return store.mask(row, finding) if chosen[row, finding] else None

    return Guidance(settings.mode, class_masks, own), chosen


def given_masks(config: Config, store: Store) -> str | None:
    """Digest of the masks in the files of guidance.masks, as they guide; None for a run that they do not guide."""
    settings = config.guidance
    guided = config.losses.guidance if config.model.kind == "attrinet" else config.baseline.guidance
    if settings.mode == "none" or settings.mode in NEEDS_MASKS or not settings.masks or not guided:
        return None
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(settings.masks):
        digest.update(name.encode())
        digest.update(read_mask(settings.masks[name], store.size).tobytes())
    return digest.hexdigest()


def away_from_tag(store: Store) -> np.ndarray:
    """(size, size) mask of mode shortcut."""
    region = tag_region(store)
    if region is None:
        raise AttrinetError(f"{store.path}: guidance.mode=shortcut needs a store of `attrinet prepare shortcut` whose "
                            "tag has one place; elsewhere, draw masks that leave it out and use guidance.mode=given")
    return all_but(region)


def read_mask(path: str | Path, size: int) -> np.ndarray:
    """A user's guidance mask: PNG (255 inside) or NPY ([0, 1] or bool) → (size, size) float in [0, 1]."""
    path = Path(path)
    try:
        if path.suffix == ".npy":
            mask = np.load(path, allow_pickle=False).astype(np.float32)
        else:
            with Image.open(path) as image:
                mask = np.asarray(image.convert("L"), np.float32) / 255
    except (OSError, ValueError, UnidentifiedImageError) as error:
        raise AttrinetError(f"{path}: not a usable guidance mask ({error}); want a grey PNG or an NPY array") from error
    if mask.ndim != 2 or not mask.any() or not np.isfinite(mask).all() or mask.min() < 0 or mask.max() > 1:
        raise AttrinetError(f"{path}: a guidance mask is a 2-D image with values in [0, 1], not all 0")
    scaled = Image.fromarray(mask).resize((size, size), Image.Resampling.BOX)
    return np.asarray(scaled, np.float32).clip(0, 1)
