"""Annotations → guidance masks (paper §3.5, App. C): where the evidence of a finding may lie.

Masks are (H, W) float in [0, 1]: 1 inside. Pure arrays; files and data sets are the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from attrinet.errors import AttrinetError

MODES = {
    "none": "no guidance",
    "full": "the image's own annotation; an image without one is not guided (§3.5.1)",
    "box-only": "as full, with the bounding box of the image's own annotation",
    "pseudo-box": "the bounding box of the union of the finding's training annotations, for every image",
    "pseudo-mask": "the union of the finding's training annotations, for every image (§3.5.2)",
    "weighted": "the share of the finding's training annotations that cover a pixel, largest = 1, for every image",
    "mixed": "own annotation where there is one, pseudo-mask else (§3.5.2, the paper's choice)",
    "mixed-weighted": "own annotation where there is one, weighted mask else",
    "given": "a mask file a finding (guidance.masks); the centred square for findings without one",
    "shortcut": "all but the surroundings of the tag that `attrinet prepare shortcut` drew (§4.5), for every image",
}
NEEDS_OWN = ("full", "box-only", "mixed", "mixed-weighted")


def union(masks: np.ndarray) -> np.ndarray:
    """Pseudo mask (Fig. 3): (K, H, W) bool → (H, W) float, 1 where any annotation is."""
    return np.asarray(masks.any(0), np.float32)


def bounding_box(mask: np.ndarray) -> np.ndarray:
    """Smallest upright box around a mask: (H, W) → (H, W) float; an empty mask stays empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = np.zeros(mask.shape, np.float32)
    if len(rows):
        box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = 1
    return box


def weighted(masks: np.ndarray) -> np.ndarray:
    """Normalised count (App. C): (K, H, W) bool → (H, W) float, how many annotations cover a pixel over the most."""
    count = masks.sum(0, dtype=np.float32)
    return count / max(count.max(), 1)


def center_square(size: int, fraction: float = 300 / 320) -> np.ndarray:
    """Loose guidance for a finding without annotations (§4.1.2): a centred square; 300 of 320 pixels a side."""
    margin = round(size * (1 - fraction) / 2)
    mask = np.zeros((size, size), np.float32)
    mask[margin : size - margin, margin : size - margin] = 1
    return mask


def all_but(region: np.ndarray, margin: float = 15 / 320) -> np.ndarray:
    """Guidance off a known shortcut (Fig. 9c): (H, W) bool region → (H, W) float, 0 in its bounding box widened by
    `margin` (share of the side; 15 of 320 pixels in the authors' code), 1 elsewhere.

    Raises AttrinetError where nothing would be left, as around a frame: there, give masks.
    """
    reach = round(margin * len(region))
    wide = np.pad(bounding_box(region), reach)
    rows, columns = np.flatnonzero(wide.any(1)), np.flatnonzero(wide.any(0))
    if len(rows):
        wide[rows[0] - reach : rows[-1] + reach + 1, columns[0] - reach : columns[-1] + reach + 1] = 1
    mask = 1 - wide[reach : reach + region.shape[0], reach : reach + region.shape[1]]
    if not mask.any():
        raise AttrinetError("the shortcut's box is the whole image, so no guidance mask is left outside it; give masks "
                            "of your own with guidance.mode=given")
    return mask


def class_mask(annotations: Sequence[np.ndarray], mode: str, size: int, square: float = 300 / 320) -> np.ndarray:
    """The mask that stands for a whole finding under `mode`: (H, W) float. No annotations: the centred square."""
    if not len(annotations):
        return center_square(size, square)
    masks = np.stack(annotations)
    if mode == "pseudo-box":
        return bounding_box(union(masks))
    return weighted(masks) if mode in ("weighted", "mixed-weighted") else union(masks)


@dataclass(frozen=True)
class Guidance:
    """Guidance masks of a training run.

    class_masks: (C, H, W), the mask of a finding where an image has none of its own.
    own: (row, finding) → (H, W) bool annotation, or None; consulted under the modes in NEEDS_OWN.
    """

    mode: str
    class_masks: np.ndarray
    own: Callable[[int, int], np.ndarray | None]

    def __post_init__(self) -> None:
        if self.mode not in MODES or self.mode == "none":
            raise AttrinetError(f"guidance.mode={self.mode!r}: choose one of {', '.join(MODES)}")

    def masks(self, rows: np.ndarray, finding: int) -> tuple[np.ndarray, np.ndarray]:
        """Masks of the positive images `rows`, (B, H, W) float, and which of them are guided at all, (B,) bool."""
        fallback = self.class_masks[finding]
        if self.mode not in NEEDS_OWN:
            return np.repeat(fallback[None], len(rows), 0), np.ones(len(rows), bool)
        given = [self.own(int(row), finding) for row in rows]
        own = [None if mask is None or not mask.any() else mask for mask in given]
        annotated = np.array([mask is not None for mask in own])
        shape = bounding_box if self.mode == "box-only" else np.float32
        masks = np.stack([fallback if mask is None else shape(mask) for mask in own])
        guided = annotated if self.mode in ("full", "box-only") else np.ones(len(rows), bool)
        return masks, guided
