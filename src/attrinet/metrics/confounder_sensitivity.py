"""Confounder sensitivity (§4.2.2, §4.5): how much of a class centre's strongest part lies on a known confounder."""

from __future__ import annotations

import numpy as np


def confounder_sensitivity(center: np.ndarray, confounder: np.ndarray, top: float = 0.1) -> float:
    """Share of the confounder's pixels that are among the `top` share of the strongest pixels of a class centre.

    center: (H, W), positive centre of the contaminated finding; its strength is |center|, as in the authors' code: a
    dark tag is brightened away, a bright one darkened. A local map of evidence will do as well. confounder: (H, W)
    bool, not empty. 0 to 1, lower is better; `top` is chance. Of pixels tied at the edge of the top share as many
    count, wherever they lie, as there is room for: a flat centre scores `top`.
    """
    confounder = np.asarray(confounder, bool)
    if not confounder.any():
        raise ValueError("the confounder's mask is empty")
    strength, count, edge = ranked(center, top)
    above, tied = strength > edge, strength == edge
    return float((above + tied * (count - above.sum()) / tied.sum())[confounder].mean())


def strongest(center: np.ndarray, top: float = 0.1) -> np.ndarray:
    """(H, W) bool: the `top` share of pixels with the largest |center|, without those tied at its edge."""
    strength, _, edge = ranked(center, top)
    tied = (strength >= edge).mean() > top + 1 / center.size
    return strength > edge if tied else strength >= edge


def ranked(center: np.ndarray, top: float) -> tuple[np.ndarray, int, float]:
    """|center|, how many pixels are the `top` share, and the strength of the last of them."""
    strength, count = np.abs(center), max(round(top * center.size), 1)
    return strength, count, float(np.partition(strength.ravel(), -count)[-count])
