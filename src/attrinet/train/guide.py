"""Guidance masks of a run from the annotations of its store (§3.5, §4.1.2)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from attrinet.data.sampling import generator_for
from attrinet.data.store import Store
from attrinet.errors import AttrinetError
from attrinet.guidance import MODES, Guidance, center_square, class_mask
from attrinet.train.config import Config

GUIDANCE_KEY = 1_000_003  # keeps the draw of annotated images apart from the other uses of the seed


def build_guidance(config: Config, store: Store, train: np.ndarray) -> tuple[Guidance | None, np.ndarray]:
    """Guidance of a run (None for mode none) and which images count as annotated, (N, C) bool.

    Only annotations of training images that are positive for the finding are used; guidance.per_finding draws so
    many of them, seeded (Table 1). Raises AttrinetError for unknown modes, findings and unusable mask files.
    """
    chosen = np.zeros((len(store), len(store.findings)), bool)
    settings = config.guidance
    if settings.mode not in MODES:
        raise AttrinetError(f"guidance.mode={settings.mode!r}: choose one of {', '.join(MODES)}")
    if settings.mode == "none" or not config.losses.guidance:
        return None, chosen
    class_masks = np.empty((len(store.findings), store.size, store.size), np.float32)
    given = {name: read_mask(path, store.size) for name, path in settings.masks.items()}
    unknown = sorted(set(given) - set(store.findings))
    if unknown:
        raise AttrinetError(f"guidance.masks: {unknown[0]!r} is none of the findings {', '.join(store.findings)}")
    for c, name in enumerate(store.findings):
        rows = [r for r in train if store.labels[r, c] == 1 and store.mask(r, c) is not None]
        if settings.per_finding is not None and len(rows) > settings.per_finding:
            random = generator_for(config.run.seed, GUIDANCE_KEY, c)
            rows = sorted(random.choice(rows, settings.per_finding, replace=False))
        chosen[rows, c] = True
        if name in given:
            class_masks[c] = given[name]
        elif settings.mode == "given":
            class_masks[c] = center_square(store.size, settings.center_square)
        else:
            class_masks[c] = class_mask([store.mask(r, c) for r in rows], settings.mode, store.size,
                                        settings.center_square)

    def own(row: int, finding: int) -> np.ndarray | None:
        return store.mask(row, finding) if chosen[row, finding] else None

    return Guidance(settings.mode, class_masks, own), chosen


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
    if mask.ndim != 2 or not np.isfinite(mask).all() or mask.min() < 0 or mask.max() > 1 or not mask.any():
        raise AttrinetError(f"{path}: a guidance mask is a 2-D image with values in [0, 1], not all 0")
    scaled = Image.fromarray(mask).resize((size, size), Image.Resampling.BOX)
    return np.asarray(scaled, np.float32).clip(0, 1)
