"""Area under the ROC curve, a finding at a time (§4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import roc_curve


@dataclass(frozen=True)
class Auc:
    """per_finding: finding → AUC in [0, 1]; NaN where no image is positive, or none negative. mean: over the others.

    Higher is better; 0.5 is chance.
    """

    per_finding: dict[str, float]
    mean: float


def auc(labels: np.ndarray, scores: np.ndarray, findings: Sequence[str], weights: np.ndarray | None = None) -> Auc:
    """AUC of every finding: labels (N, C) 1, 0 or NaN (unknown: left out), scores (N, C), any monotone scale.

    weights: (N,) how often an image counts, for the bootstrap; None: once.
    """
    values = {
        name: binary_auc(labels[:, c], scores[:, c], weights) for c, name in enumerate(findings)
    }
    known = [v for v in values.values() if not np.isnan(v)]
    return Auc(values, float(np.mean(known)) if known else float("nan"))


def binary_auc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The chance that a positive image scores higher than a negative one, ties half (Mann–Whitney): (N,), (N,) → AUC.

    One sort and two sums, weights included, so that a bootstrap of thousands of draws takes seconds.
    """
    known = ~np.isnan(labels)
    y, s = labels[known], scores[known]
    w = np.ones(len(y)) if weights is None else np.asarray(weights, float)[known]
    values, group = np.unique(s, return_inverse=True)
    positive = np.bincount(group, w * (y == 1), len(values))
    negative = np.bincount(group, w * (y == 0), len(values))
    if positive.sum() == 0 or negative.sum() == 0:
        return float("nan")
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / (positive.sum() * negative.sum()))


def roc(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ROC curve of one finding: false positive rates, true positive rates, thresholds; unknown labels left out."""
    known = ~np.isnan(labels)
    return roc_curve(labels[known], scores[known])
