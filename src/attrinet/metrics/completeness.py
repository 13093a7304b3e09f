"""How well the sum of a map predicts the logit: exactly, for an explanation that is the decision (§3.6.1)."""

from __future__ import annotations

import numpy as np

FEWEST_FOR_INTERVAL = 10  # images; r2 of fewer distinct ones is far too high, as a line fits them too well
ROUNDING = 1e-20  # of the largest square: a variance below it is that of constants summed in another order


def sum_predicts_logit(sums: np.ndarray, logits: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """r2 and residual over the images of one finding: sums, logits (N,), weights (D, N) → (D,), (D,).

    r2: share of the logits' variance that the best straight line through the sums explains, 0 to 1: does a larger sum
    mean a larger logit? A constant sum explains nothing and has 0, as has one that falls where the logit rises: near
    0, drawing images again can only raise it, and the bounds of its interval with it.
    residual: root mean square of logit − (sum + the best constant), in logits, 0 for a map whose sum with a constant is
    the logit. NaN where fewer than two images count; r2 also where fewer than three do, as a line goes through any two,
    and where the logits do not vary.
    """
    s, z = sums.astype(np.float64), logits.astype(np.float64)
    total = weights.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        w = weights / total[:, None]
        ds, dz = s - (w @ s)[:, None], z - (w @ z)[:, None]  # (D, N)
        ss, zz, sz = (w * ds**2).sum(1), (w * dz**2).sum(1), (w * ds * dz).sum(1)
        rises = (ss > ROUNDING * np.square(s).max(initial=0)) & (sz > 0)
        r2 = np.where(rises, sz**2 / (ss * zz), 0)
        residual = np.sqrt((w * (dz - ds) ** 2).sum(1))
    count = (weights > 0).sum(1)
    varies = zz > ROUNDING * np.square(z).max(initial=0)
    return np.where((count >= 3) & varies, r2, np.nan), np.where(count >= 2, residual, np.nan)
