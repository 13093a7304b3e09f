"""Disease sensitivity (§4.2.2; energy-based pointing game, Wang et al., CVPRW 2020): does evidence lie on lesions?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class DiseaseSensitivity:
    """One value an annotated (image, finding).

    inside: share of the positive attribution inside the annotation, 0 to 1, higher is better; NaN for a map without
    any. area: share of the image that is annotated, which is what `inside` is by chance.
    """

    inside: np.ndarray
    area: np.ndarray

    @property
    def enrichment(self) -> np.ndarray:
        """inside / area: how many times denser evidence is in the annotation than by chance (1)."""
        return self.inside / self.area

    @property
    def blank(self) -> int:
        """Maps without positive attribution: they have no score and are counted, not hidden as 0."""
        return int(np.isnan(self.inside).sum())


def disease_sensitivity(attribution: np.ndarray, masks: np.ndarray, published: bool = False) -> DiseaseSensitivity:
    """attribution: (B, H, W), positive is evidence. masks: (B, H, W) bool, none empty.

    published: scale every positive map by its minimum and maximum first, and give 0 to a map that then is blank, as
    the authors' code does.
    """
    masks = np.asarray(masks, bool)
    energy = np.clip(attribution, 0, None).astype(np.float64)
    if published:
        low, high = energy.min((1, 2), keepdims=True), energy.max((1, 2), keepdims=True)
        energy = (energy - low) / np.where(high > low, high - low, 1)
    whole = energy.sum((1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        inside = np.where(whole > 0, (energy * masks).sum((1, 2)) / whole, 0 if published else np.nan)
    return DiseaseSensitivity(inside, masks.mean((1, 2)))
