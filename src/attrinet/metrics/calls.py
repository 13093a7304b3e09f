"""When a finding is called."""

from __future__ import annotations

import numpy as np


def called(probabilities: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Where a probability reaches its threshold, in float32 as models call: their thresholds are."""
    return np.asarray(probabilities.astype(np.float32) >= thresholds.astype(np.float32))
