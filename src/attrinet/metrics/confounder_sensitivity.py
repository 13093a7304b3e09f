"""Confounder sensitivity (§4.2.2, §4.5): how much of a class centre's strongest part lies on a known confounder."""

from __future__ import annotations

import numpy as np


def confounder_sensitivity(center: np.ndarray, confounder: np.ndarray, top: float = 0.1) -> float:
    """Share of the confounder's pixels that are among the `top` share of the strongest pixels of a class centre.

    center: (H, W), positive centre of the contaminated finding; its strength is |center|, as in the authors' code: a
    dark tag is brightened away, a bright one darkened. A local map of evidence will do as well. confounder: (H, W)
    bool, not empty. 0 to 1, lower is better; `top` is chance. Ties at the edge of the top share count as outside, so
    a flat centre scores 0.
    """
    if not confounder.any():
        raise ValueError("the confounder's mask is empty")
    return float(strongest(center, top)[confounder].mean())


def strongest(center: np.ndarray, top: float = 0.1) -> np.ndarray:
    """(H, W) bool: the `top` share of pixels with the largest |center|, without those tied at its edge."""
    strength, count = np.abs(center), max(round(top * center.size), 1)
    threshold = np.partition(strength.ravel(), -count)[-count]
    tied = (strength >= threshold).mean() > top + 1 / center.size
    return strength > threshold if tied else strength >= threshold
