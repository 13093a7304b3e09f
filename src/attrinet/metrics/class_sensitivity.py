"""Class sensitivity (§4.2.2, after Böhle et al., CVPR 2021): is there evidence only where there is the finding?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from attrinet.metrics.calls import called

NEGATIVES = 3  # in a 2×2 grid with one positive


@dataclass(frozen=True)
class ClassSensitivity:
    """mean: of scores, 0 to 1, higher is better, ¼ is chance. scores: (G,) one a grid, NaN for a blank grid.
    blank: grids without any positive attribution; they have no score and are counted here, not hidden as 0."""

    mean: float
    scores: np.ndarray
    blank: int


def draw_grids(
    labels: np.ndarray, probabilities: np.ndarray, threshold: float, count: int = 200, seed: int = 0
) -> np.ndarray:
    """(G, 4) image numbers: a confident true positive, then three confident true negatives of one finding.

    labels, probabilities: (N,). Called is a probability at or above threshold. The most confident true positives,
    at most `count`, each come once; the 3 · G most confident true negatives are shuffled over them, and come again
    where there are too few. No grid where there is no true positive or no true negative.
    """
    order = np.argsort(probabilities, kind="stable")
    calls = called(probabilities, np.asarray(threshold))
    positives = [k for k in order[::-1] if labels[k] == 1 and calls[k]][:count]
    negatives = [k for k in order if labels[k] == 0 and not calls[k]][: NEGATIVES * len(positives)]
    if not positives or not negatives:
        return np.empty((0, 1 + NEGATIVES), int)
    shuffled = np.random.default_rng(seed).permutation(negatives)
    return np.column_stack([positives, np.resize(shuffled, (len(positives), NEGATIVES))])


def class_sensitivity(totals: np.ndarray) -> ClassSensitivity:
    """totals: (G, 4) summed positive attribution of each cell, the positive image first."""
    whole = totals.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        scores = np.where(whole > 0, totals[:, 0] / whole, np.nan)
    known = scores[~np.isnan(scores)]
    return ClassSensitivity(float(known.mean()) if len(known) else float("nan"), scores, int((whole <= 0).sum()))
