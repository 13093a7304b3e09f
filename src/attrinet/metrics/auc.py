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


def auc(labels: np.ndarray, scores: np.ndarray, findings: Sequence[str]) -> Auc:
    """AUC of every finding: labels (N, C) 1, 0 or NaN (unknown: left out), scores (N, C), any monotone scale."""
    once = np.ones((1, len(labels)))
    values = {name: float(weighted_auc(labels[:, c], scores[:, c], once)[0]) for c, name in enumerate(findings)}
    known = [v for v in values.values() if not np.isnan(v)]
    return Auc(values, float(np.mean(known)) if known else float("nan"))


def weighted_auc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The chance that a positive image scores higher than a negative one, ties half (Mann–Whitney).

    labels, scores: (N,). weights: (D, N), how often each image counts in each of D draws; the images are sorted once
    for all draws. Returns (D,), NaN where nothing is positive or nothing negative.
    """
    known = np.flatnonzero(~np.isnan(labels))
    order = known[np.argsort(scores[known], kind="stable")]
    if len(order) == 0:
        return np.full(len(weights), np.nan)
    starts = new_scores(scores[order])
    w = weights[:, order]
    positive = np.add.reduceat(w * (labels[order] == 1), starts, axis=1, dtype=np.float64)  # (D, distinct scores)
    negative = np.add.reduceat(w * (labels[order] == 0), starts, axis=1, dtype=np.float64)
    below = np.cumsum(negative, axis=1) - negative
    pairs = positive.sum(1) * negative.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(pairs > 0, (positive * (below + negative / 2)).sum(1) / pairs, np.nan)


def new_scores(ranked: np.ndarray) -> np.ndarray:
    """Places where a new score begins, of one or more sorted ones; −inf is one, too."""
    return np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])


def roc(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ROC curve of one finding: false positive rates, true positive rates, thresholds; unknown labels left out."""
    known = ~np.isnan(labels)
    return roc_curve(labels[known], scores[known])
