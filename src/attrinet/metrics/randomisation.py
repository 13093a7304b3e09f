"""Model-randomisation check (Adebayo et al., NeurIPS 2018): a map that does not change when the model forgets all it
has learned does not explain the model."""

from __future__ import annotations

import numpy as np
from scipy.stats import spearmanr


def similarity(maps: np.ndarray, randomised: np.ndarray) -> np.ndarray:
    """Spearman correlation of the pixels of each map with those of the randomised model's: (B, H, W) twice → (B,).

    −1 to 1; near 0 is good, 1 is a map that owes nothing to the weights. A constant map ranks nothing: NaN, also for
    two blank ones, which say nothing at all; but 1 for the same constant twice.
    """
    out = []
    for a, b in zip(maps.reshape(len(maps), -1), randomised.reshape(len(maps), -1), strict=True):
        if np.ptp(a) == 0 or np.ptp(b) == 0:
            out.append(1.0 if a.any() and np.array_equal(a, b) else float("nan"))
        else:
            out.append(float(spearmanr(a, b).statistic))
    return np.array(out)
