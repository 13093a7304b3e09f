"""COCO compressed run-length masks, as CheXlocalize ships them.

Our own few lines, not pycocotools: its C decoder neither checks nor reports a damaged string.
"""

from __future__ import annotations

import numpy as np


def encode(mask: np.ndarray) -> str:
    """(H, W) bool → runs of 0 and 1 in column order, each as 5-bit groups (low first) from "0" on.

    From the fourth run on, the difference to the run two before is written.
    """
    flat = np.asarray(mask, bool).ravel(order="F")
    edges = np.flatnonzero(np.diff(flat, prepend=False))
    runs = np.diff(edges, prepend=0, append=len(flat)).tolist()
    text = []
    for k, run in enumerate(runs):
        value, more = run - (runs[k - 2] if k > 2 else 0), True
        while more:
            group, value = value & 31, value >> 5
            more = value != (-1 if group & 16 else 0)  # until what is left is only the sign
            text.append(chr(48 + (group | 32 if more else group)))
    return "".join(text)


def decode(text: str, height: int, width: int) -> np.ndarray:
    """The inverse of encode: (height, width) bool. Raises ValueError unless the runs fill the image exactly."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        group = ord(character) - 48
        if not 0 <= group < 64:
            raise ValueError(f"character {character!r}")
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        run = value + (runs[-2] if len(runs) > 2 else 0)
        if run < 0:
            raise ValueError("a negative run")
        runs.append(run)
        value = shift = 0
    if shift or sum(runs) != height * width:
        raise ValueError(f"runs over {sum(runs)} of {height * width} pixels")
    bits = np.arange(len(runs)) % 2 == 1
    return np.repeat(bits, runs).reshape((height, width), order="F")
