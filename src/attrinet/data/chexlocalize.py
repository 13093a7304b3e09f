"""CheXlocalize (Saporta et al., Nature Machine Intelligence 2022): lesions drawn on CheXpert's valid and test images.

The download holds CheXlocalize/ with the drawings and CheXpert/ with the images and labels of the two splits:

    gt_annotations_{val,test}.json      id → {"img_size": [h, w], finding: [contour, …]}, a contour is [[x, y], …]
    gt_segmentations_{val,test}.json    id → {finding: {"size": [h, w], "counts": COCO compressed run lengths}}

An id is patient…_study…_view…; sizes and coordinates are those of the full-size CheXpert images. The segmentations are
the filled contours, with an empty mask for each of the ten findings that was not drawn.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from attrinet.data import annotations as notes
from attrinet.errors import AttrinetError

CHEXPERT_NAMES = {"Airspace Opacity": "Lung Opacity"}  # the one name that differs from CheXpert's label columns
PARTS = ("val", "test")


def find(folder: Path, name: str) -> Path | None:
    """A file of the download, whether `folder` holds CheXlocalize/ and CheXpert/ or is one of the two."""
    places = (folder, folder / "CheXlocalize", folder / "CheXpert", folder.parent / "CheXlocalize",
              folder.parent / "CheXpert")
    return next((place / name for place in places if (place / name).is_file()), None)


def chexlocalize_annotations(
    folder: str | Path, ids: Collection[str], findings: Sequence[str]
) -> tuple[pd.DataFrame, dict]:
    """Masks of the images `ids` and of `findings` (CheXpert's names) → annotation table, and an account of the rest.

    The run-length mask is taken where there is one, the filled contours else; both keep the pixel size of the drawing.
    The account: {"files": names read, "masks": from run lengths, "contours": from contours, "left out": reason →
    (image, finding) pairs}. Raises AttrinetError naming file, image and finding for anything it cannot read.
    """
    rows, left_out, taken, files = [], Counter(), Counter(), []
    for part in PARTS:
        masks_file, contours_file = (find(Path(folder), f"gt_{kind}_{part}.json")
                                     for kind in ("segmentations", "annotations"))
        masks, contours = read_drawings(masks_file), read_drawings(contours_file)
        files += [str(file) for file in (masks_file, contours_file) if file]
        for id in dict.fromkeys([*masks, *contours]):
            drawn = contours.get(id, {})
            for name in dict.fromkeys([*masks.get(id, {}), *drawn]):
                if name == "img_size":
                    continue
                finding = CHEXPERT_NAMES.get(name, name)
                mask = masks.get(id, {}).get(name)
                reason = (
                    "empty mask" if is_empty(drawn.get(name) if mask is None else mask)
                    else "finding not used" if finding not in findings
                    else "image not used" if id not in ids
                    else "contour without image size" if mask is None and "img_size" not in drawn
                    else None
                )
                if reason is None:
                    where = f"{contours_file if mask is None else masks_file}: image {id!r}, {name}"
                    row = (contour_row(id, finding, drawn[name], drawn["img_size"], where) if mask is None
                           else run_length_row(id, finding, mask, where))
                    reason = "empty mask" if row is None else None
                if reason is None:
                    rows.append(row)
                    taken["contours" if mask is None else "masks"] += 1
                else:
                    left_out[reason] += 1
    return notes.table(rows), {"files": files, "masks": taken["masks"], "contours": taken["contours"],
                               "left out": dict(left_out)}


def read_drawings(path: Path | None) -> dict[str, dict]:
    """One of the JSON files, {} for None. Raises AttrinetError naming it."""
    if path is None:
        return {}
    try:
        drawings = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise AttrinetError(f"{path}: not a readable JSON file ({error}); download it again") from error
    if not isinstance(drawings, dict) or not all(isinstance(found, dict) for found in drawings.values()):
        raise AttrinetError(f"{path}: want {{image: {{finding: …}}}}, as CheXlocalize writes it")
    return drawings


def is_empty(drawing: object) -> bool:
    """No contour, or run lengths that are one single run (of zeros: the first run always is)."""
    if isinstance(drawing, dict):
        counts = drawing.get("counts")
        return isinstance(counts, str) and all((ord(character) - 48) & 32 for character in counts[:-1])
    return drawing == []


def run_length_row(id: str, finding: str, drawing: dict, where: str) -> dict | None:
    """{"size": [h, w], "counts": …} → annotation row; None if nothing is inside."""
    try:
        height, width = (int(side) for side in drawing["size"])
        inside = notes.decode(drawing["counts"], width, height, id).any()
    except (AttrinetError, KeyError, TypeError, ValueError) as error:
        raise AttrinetError(f"{where}: no run-length mask ({error}); download the file again") from error
    return notes.rle_row(id, finding, drawing["counts"], width, height) if inside else None


def contour_row(id: str, finding: str, contours: list, size: Sequence[int], where: str) -> dict | None:
    """Contours in pixels of an image of `size` (h, w) → row of their filled union; None if it lies outside."""
    try:
        mask = fill(contours, *(int(side) for side in size))
    except (TypeError, ValueError, IndexError) as error:
        raise AttrinetError(f"{where}: no contours [[[x, y], …], …] on an image of {size} pixels ({error})") from error
    return notes.mask_row(id, finding, mask) if mask.any() else None


def fill(contours: Sequence[Sequence[Sequence[float]]], height: int, width: int) -> np.ndarray:
    """Filled contours, their outline included → (height, width) bool, as CheXlocalize makes its segmentations."""
    canvas = Image.new("1", (width, height))
    draw = ImageDraw.Draw(canvas)
    for contour in contours:
        points = [(float(x), float(y)) for x, y in contour]
        draw.polygon([*points, points[0]], fill=1, outline=1)  # closed: a contour of one point still is a polygon
    return np.array(canvas, bool)
