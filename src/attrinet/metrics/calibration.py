"""Expected calibration error (Naeini et al., AAAI 2015; Guo et al., ICML 2017): is 0.7 right seven times in ten?"""

from __future__ import annotations

import numpy as np

BINS = 10  # of equal width


def weighted_calibration_error(
    labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray, bins: int = BINS
) -> np.ndarray:
    """Mean over images of |share of positives − mean probability| of the bin an image falls into.

    labels, probabilities: (N,), labels 1, 0 or NaN (unknown: left out). weights: (D, N), how often each image counts in
    each of D draws. Returns (D,), 0 to 1, lower is better; few images in a bin make it larger. NaN where none is known.
    """
    known = ~np.isnan(labels)
    y, p, w = labels[known].astype(np.float64), probabilities[known].astype(np.float64), weights[:, known]
    of = np.minimum((p * bins).astype(int), bins - 1)
    members = of[:, None] == np.arange(bins)  # (N, bins)
    gap = np.abs(w @ (members * (y - p)[:, None]))  # (D, bins): |Σ label − Σ probability| of a bin
    total = w.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, gap.sum(1) / total, np.nan)
