"""Pointing game (Zhang et al., IJCV 2018; the hit rate of CheXlocalize, Saporta et al. 2022): is the strongest pixel
on the lesion?"""

from __future__ import annotations

import numpy as np


def pointing_game(attribution: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """attribution: (B, H, W), positive is evidence. masks: (B, H, W) bool.

    Returns (B,): 1 for a hit, 0 for a miss, the share of hits where several pixels are the strongest (a superpixel, a
    uniform map), as if one of them were drawn; NaN for a map without positive attribution. Higher is better, the
    annotated share of the image is chance. No tolerance around the annotation, as in CheXlocalize.
    """
    top = attribution.max((1, 2), keepdims=True)
    strongest = attribution == top
    hits = (strongest & masks).sum((1, 2)) / strongest.sum((1, 2))
    return np.where(top[:, 0, 0] > 0, hits, np.nan)
