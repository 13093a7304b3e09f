"""Deletion and insertion (RISE: Petsiuk et al., BMVC 2018): does the decision hang on the pixels a map is proud of?

Deletion greys the strongest pixels first and follows the probability down: a small area is good. Insertion puts the
strongest pixels first into a blurred image and follows it up: a large area is good.
"""

from __future__ import annotations

import numpy as np
from scipy.integrate import trapezoid
from scipy.ndimage import gaussian_filter

SHARES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 1.0)  # of the pixels; dense where curves bend
GREY = 0.0  # mid grey, what RISE deletes to
BLUR = 1 / 16  # of the image's side: RISE's 5 pixels of 224 leave a large opacity as it is


def ranks(attribution: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(H, W) → (H, W) ints from 0 for the strongest pixel; ties in random order."""
    flat = attribution.ravel()
    order = np.lexsort((random.random(flat.size), -flat))
    out = np.empty(flat.size, int)
    out[order] = np.arange(flat.size)
    return out.reshape(attribution.shape)


def deleted(image: np.ndarray, rank: np.ndarray, shares: tuple[float, ...] = SHARES) -> np.ndarray:
    """(H, W) in [-1, 1] and its ranks → (S, H, W): the strongest share of pixels is grey."""
    return np.stack([np.where(rank < round(share * rank.size), np.float32(GREY), image) for share in shares])


def inserted(image: np.ndarray, rank: np.ndarray, shares: tuple[float, ...] = SHARES) -> np.ndarray:
    """(H, W) in [-1, 1] and its ranks → (S, H, W): the strongest share of pixels is sharp, the others are blurred."""
    blurred = gaussian_filter(image, BLUR * len(image), mode="nearest")
    return np.stack([np.where(rank < round(share * rank.size), image, blurred) for share in shares])


def area(curve: np.ndarray, shares: tuple[float, ...] = SHARES) -> np.ndarray:
    """(…, S) probabilities → (…): area under them over the share of pixels, by trapezoids, 0 to 1."""
    return trapezoid(curve, shares, axis=-1)
