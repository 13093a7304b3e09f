"""From the square a model sees back to the rows and columns of the file it was read from."""

from __future__ import annotations

import numpy as np

from attrinet.data.images import padding


def on_source(maps: np.ndarray, height: int, width: int, keep_aspect: bool) -> np.ndarray:
    """(C, size, size), logits a pixel of the model → float32 (C, height, width), logits a pixel of the source.

    The inverse of images.resize, whose pixels are unit squares and whose edges stay edges: each model pixel's value is
    spread evenly over the area it was made of, so sums are kept, and bias + sum still is the logit. keep_aspect: what
    lies in the padding has no source pixel and is left out.
    """
    side, (top, left) = max(height, width), padding(height, width)
    for axis, (count, first) in ((1, (height, top)), (2, (width, left))):
        edges = np.arange(count + 1, dtype=np.float64)
        edges = (edges + first) / side if keep_aspect else edges / count
        maps = _between(maps, edges * maps.shape[axis], axis)
    return maps.astype(np.float32)


def _between(values: np.ndarray, edges: np.ndarray, axis: int) -> np.ndarray:
    """Sums of `values`, constant within each pixel, from each of the edges (in pixels) to the next along an axis."""
    values = np.moveaxis(values, axis, 0).astype(np.float64)
    before = np.concatenate([np.zeros_like(values[:1]), values.cumsum(0)])  # sum of the pixels before each
    pixel = edges.astype(int).clip(0, len(values) - 1)
    part = (edges - pixel).reshape(-1, *[1] * (values.ndim - 1))
    return np.moveaxis(np.diff(before[pixel] + part * values[pixel], axis=0), 0, axis)


def holding(evidence: np.ndarray, share: float) -> np.ndarray:
    """(H, W) evidence → bool: the fewest pixels that hold this share of its positive part; none where it has none.

    Pixels as strong as the weakest of them belong to it too, so that no pixel's place in memory decides.
    """
    positive = evidence[evidence > 0]
    if not len(positive):
        return np.zeros(evidence.shape, bool)
    strongest = np.sort(positive)[::-1]
    held = strongest.cumsum(dtype=np.float64)
    return evidence >= strongest[np.searchsorted(held, share * held[-1]).clip(max=len(held) - 1)]
