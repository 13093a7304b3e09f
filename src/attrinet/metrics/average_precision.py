"""Average precision: what the ROC curve hides where a finding is rare (Saito and Rehmsmeier, PLOS ONE 2015)."""

from __future__ import annotations

import numpy as np

from attrinet.metrics.auc import new_scores


def weighted_average_precision(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Σ (R_n − R_{n−1}) P_n over the distinct scores from the highest down, without interpolation (scikit-learn's).

    labels, scores: (N,), labels 1, 0 or NaN (unknown: left out). weights: (D, N), how often each image counts in each
    of D draws. Returns (D,), 0 to 1, higher is better, the share of positives is chance; NaN where nothing is positive.
    """
    known = np.flatnonzero(~np.isnan(labels))
    order = known[np.argsort(-scores[known], kind="stable")]
    if len(order) == 0:
        return np.full(len(weights), np.nan)
    starts = new_scores(scores[order])
    w = weights[:, order]
    found = np.add.reduceat(w * (labels[order] == 1), starts, axis=1, dtype=np.float64)  # (D, distinct scores)
    called = np.cumsum(np.add.reduceat(w, starts, axis=1, dtype=np.float64), axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(called > 0, np.cumsum(found, axis=1) / called, 0)
        return np.where(found.sum(1) > 0, (found * precision).sum(1) / found.sum(1), np.nan)
