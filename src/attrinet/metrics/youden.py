"""The threshold that turns a probability into a call (§4.2: Youden's index on the validation images)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attrinet.metrics.auc import roc


@dataclass(frozen=True)
class Youden:
    """threshold: call a finding at this probability or above. sensitivity, specificity: there, on the same images;
    NaN where no image is positive, or none negative, and the threshold is 0.5."""

    threshold: float
    sensitivity: float
    specificity: float


def youden_threshold(labels: np.ndarray, probabilities: np.ndarray) -> Youden:
    """The threshold with the largest sensitivity + specificity − 1 (Youden, Cancer 1950): (N,), (N,).

    It lies half-way between the two neighbouring probabilities, where a little change of either changes no call.
    """
    known = ~np.isnan(labels)
    y, p = labels[known], probabilities[known].astype(float)
    if len(np.unique(y)) < 2:
        return Youden(0.5, float("nan"), float("nan"))
    fpr, tpr, thresholds = roc(y, p)
    best = int(np.argmax(tpr[1:] - fpr[1:])) + 1  # the first point calls nothing, at an infinite threshold
    below = p[p < thresholds[best]]
    threshold = (thresholds[best] + below.max()) / 2 if len(below) else thresholds[best]
    return Youden(float(threshold), float(tpr[best]), float(1 - fpr[best]))
