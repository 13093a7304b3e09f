"""How well the sum of a map predicts the logit: exactly, for an explanation that is the decision (§3.6.1)."""

from __future__ import annotations

import numpy as np


def sum_predicts_logit(sums: np.ndarray, logits: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """r2 and residual over the images of one finding: sums, logits (N,), weights (D, N) → (D,), (D,).

    r2: share of the logits' variance that the best straight line through the sums explains, 0 to 1: does a larger sum
    mean a larger logit? A constant sum explains nothing and has 0. residual: root mean square of
    logit − (sum + the best constant), in logits, 0 for a map whose sum with a constant is the logit. NaN where fewer
    than two images count; r2 also where the logits do not vary.
    """
    s, z = sums.astype(np.float64), logits.astype(np.float64)
    total = weights.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        w = weights / total[:, None]
        ds, dz = s - (w @ s)[:, None], z - (w @ z)[:, None]  # (D, N)
        ss, zz, sz = (w * ds**2).sum(1), (w * dz**2).sum(1), (w * ds * dz).sum(1)
        r2 = np.where(ss > 1e-12 * np.square(s).max(initial=0), sz**2 / (ss * zz), 0)
        residual = np.sqrt((w * (dz - ds) ** 2).sum(1))
    enough = (weights > 0).sum(1) >= 2
    return np.where(enough & (zz > 0), r2, np.nan), np.where(enough, residual, np.nan)
