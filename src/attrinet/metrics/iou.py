"""Intersection over union of thresholded evidence and annotation, the threshold chosen on other images (CheXlocalize,
Saporta et al., Nat. Mach. Intell. 2022)."""

from __future__ import annotations

import numpy as np

# Shares of a map's maximum to choose from. CheXlocalize tries 0.2 to 0.7 on coarse Grad-CAM maps; on pixel-wise maps
# of which few pixels come near the maximum the best can be lower.
THRESHOLDS = np.round(np.arange(0.05, 0.81, 0.05), 2)


def ious(attribution: np.ndarray, masks: np.ndarray, thresholds: np.ndarray = THRESHOLDS) -> np.ndarray:
    """(B, H, W), positive is evidence, and (B, H, W) bool, none empty → (B, T), 0 to 1, higher is better.

    A pixel is called at `threshold` of the map's maximum or above. NaN for a map without positive attribution, which
    calls nothing, as in CheXlocalize.
    """
    top = attribution.max((1, 2), keepdims=True)
    scaled = attribution / np.where(top > 0, top, 1)
    out = []
    for threshold in thresholds:
        called = scaled >= threshold
        out.append((called & masks).sum((1, 2)) / (called | masks).sum((1, 2)))
    return np.where(top[:, 0] > 0, np.stack(out, 1), np.nan)


def best_threshold(values: np.ndarray, thresholds: np.ndarray = THRESHOLDS) -> float:
    """The threshold of largest mean IoU: values (B, T) of `ious` on the images it is chosen on; NaN where none is
    known."""
    known = values[~np.isnan(values).any(1)]
    return float(thresholds[known.mean(0).argmax()]) if len(known) else float("nan")
