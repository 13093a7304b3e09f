"""Lesion boxes and masks: table rows in source pixels, and their rasters at a store's size."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from attrinet.data import rle
from attrinet.data.images import padding
from attrinet.data.source import ANNOTATION_COLUMNS
from attrinet.errors import AttrinetError


def table(rows: list[dict]) -> pd.DataFrame:
    """Rows of box_row and mask_row → annotation table, columns ANNOTATION_COLUMNS."""
    frame = pd.DataFrame(rows, columns=list(ANNOTATION_COLUMNS))
    numbers = {name: "float64" for name in ("x", "y", "w", "h")}
    return frame.astype({"id": "string", "finding": "string", "kind": "string", "rle": "string", **numbers,
                         "source_width": "int64", "source_height": "int64"})


def box_row(id: str, finding: str, x: float, y: float, w: float, h: float, width: int, height: int) -> dict:
    """A box in pixels of an image of width × height; x to the right, y down."""
    return dict(zip(ANNOTATION_COLUMNS, (id, finding, "box", x, y, w, h, None, width, height), strict=True))


def in_file(
    box: tuple[float, float, float, float], original: tuple[int, int], file: tuple[int, int]
) -> tuple[float, float, float, float, int, int]:
    """A box x, y, w, h in pixels of the original, and (width, height) of original and file → box and the width and
    height that it refers to.

    These stay the original's unless the file is a copy stretched to another aspect ratio: padding to a square goes by
    the shape of the file, so the box must too.
    """
    (width, height), (file_width, file_height) = original, file
    if abs(file_width * height - file_height * width) <= max(original):  # but for rounding to whole pixels
        return *box, width, height
    x, y, w, h = box
    across, down = file_width / width, file_height / height
    return x * across, y * down, w * across, h * down, file_width, file_height


def mask_row(id: str, finding: str, mask: np.ndarray) -> dict:
    """A (H, W) bool mask, stored as a COCO compressed run-length string."""
    return rle_row(id, finding, rle.encode(mask), mask.shape[1], mask.shape[0])


def rle_row(id: str, finding: str, counts: str, width: int, height: int) -> dict:
    """A mask that already is a COCO compressed run-length string."""
    nan = math.nan
    return dict(zip(ANNOTATION_COLUMNS, (id, finding, "mask", nan, nan, nan, nan, counts, width, height), strict=True))


def rasterise(rows: pd.DataFrame, size: int, keep_aspect: bool = False) -> np.ndarray:
    """Union of annotation rows of one image → (size, size) bool, with the geometry of images.resize.

    A pixel belongs to a box that covers its centre, and to a mask that covers at least half of it: beside the exact
    outline only pixels that it crosses can be wrong. An annotation too thin for either still marks one pixel: a box
    the one under its middle, a mask the one it covers most. Boxes are clipped to the image.
    """
    out = np.zeros((size, size), bool)
    for row in rows.to_dict("records"):
        width, height = int(row["source_width"]), int(row["source_height"])
        if row["kind"] == "box":
            out |= _box(row["x"], row["y"], row["w"], row["h"], width, height, size, keep_aspect)
        else:
            out |= _mask(decode(row["rle"], width, height, row["id"]), size, keep_aspect)
    return out


def decode(counts: str, width: int, height: int, id: str = "") -> np.ndarray:
    """COCO compressed run-length string → (height, width) bool. Raises AttrinetError naming the image."""
    try:
        return rle.decode(counts, height, width)
    except (ValueError, TypeError) as error:
        raise AttrinetError(
            f"annotation of image {id!r}: not a run-length mask of {width}×{height} pixels ({error})"
        ) from error


def _axis(start: float, length: float, extent: int, offset: int, side: int, size: int) -> tuple[int, int]:
    """A stretch of one image axis → [first, last) pixels of the store."""
    low, high = max(start, 0.0), min(start + length, float(extent))
    if high <= low:
        return 0, 0
    scale = size / side
    low, high = (low + offset) * scale, (high + offset) * scale
    first, last = math.ceil(low - 0.5), math.ceil(high - 0.5)
    if last <= first:
        first = min(int((low + high) / 2), size - 1)
        last = first + 1
    return first, last


def _box(
    x: float, y: float, w: float, h: float, width: int, height: int, size: int, keep_aspect: bool
) -> np.ndarray:
    top, left = padding(height, width) if keep_aspect else (0, 0)
    side_x, side_y = (max(width, height),) * 2 if keep_aspect else (width, height)
    x0, x1 = _axis(x, w, width, left, side_x, size)
    y0, y1 = _axis(y, h, height, top, side_y, size)
    out = np.zeros((size, size), bool)
    out[y0:y1, x0:x1] = True
    return out


def _mask(mask: np.ndarray, size: int, keep_aspect: bool) -> np.ndarray:
    if not mask.any():
        return np.zeros((size, size), bool)
    side = [max(mask.shape)] * 2 if keep_aspect else mask.shape
    offset = padding(*mask.shape) if keep_aspect else (0, 0)
    share = _covered(_covered(mask, offset[0], side[0], size).T, offset[1], side[1], size).T
    out = share >= 0.5 - 1e-4  # float32 sums of halves come out a little short
    if not out.any():
        out.flat[share.argmax()] = True
    return out


def _covered(mask: np.ndarray, offset: int, side: int, size: int) -> np.ndarray:
    """(H, W) → float32 (size, W): the share of every store pixel that is covered, along the first axis."""
    edges = (np.arange(size + 1) * (side / size) - offset).clip(0, len(mask))
    before = np.zeros((len(mask) + 1, mask.shape[1]), np.float32)
    np.cumsum(mask, axis=0, dtype=np.float32, out=before[1:])
    whole = np.minimum(edges.astype(int), len(mask) - 1)
    part = (edges - whole).astype(np.float32)[:, None]
    return np.diff(before[whole] * (1 - part) + before[whole + 1] * part, axis=0) * np.float32(size / side)
