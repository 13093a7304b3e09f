"""What an adapter hands to `prepare`: images, labels and annotations of a dataset, before any pixel is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

MANIFEST_COLUMNS = ("id", "source", "patient", "split", "view")
ANNOTATION_COLUMNS = ("id", "finding", "kind", "x", "y", "w", "h", "rle", "source_width", "source_height")
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Source:
    """A dataset as an adapter read it.

    manifest: one row an image. `id` unique string; `source` string that `read` understands (a path, as a rule);
        `patient` string; `split` one of SPLITS; `view` string or None ("PA", "AP", "lateral"); then one nullable Int8
        column a finding: 1 present, 0 absent, <NA> unknown (left out of that finding's loss and metrics).
    annotations: one row a lesion. `kind` "box" (x, y, w, h: float pixels of the original image, x to the right, y down)
        or "mask" (`rle`: COCO compressed run-length string over source_height × source_width; x…h are NaN).
        May be empty but has ANNOTATION_COLUMNS.
    excluded: reason → number of images the adapter left out ("lateral view", "no label", "duplicate row", …).
    left_out: id and reason of each of them; goes to the store's excluded.csv.
    options: everything that was chosen, JSON-able; goes to the store's meta.json.
    read: `source` → float32 (H, W), any range, larger is brighter; raises AttrinetError naming the file. Picklable.
    intensity: how `prepare` maps `read`'s values to grey levels; see attrinet.data.images.to_uint8.
    file_preprocessing: intensity and keep_aspect that an image file needs to look like these images, where `read` gives
        images that are prepared already; None: what `prepare` is told.
    """

    name: str
    findings: tuple[str, ...]
    manifest: pd.DataFrame
    annotations: pd.DataFrame
    read: Callable[[str], np.ndarray]
    excluded: Mapping[str, int] = field(default_factory=dict)
    options: Mapping[str, object] = field(default_factory=dict)
    intensity: str = "paper"
    file_preprocessing: Mapping[str, object] | None = None
    left_out: Sequence[tuple[str, str]] = ()
