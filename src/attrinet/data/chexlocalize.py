"""CheXlocalize (Saporta et al., Nature Machine Intelligence 2022): lesions drawn on CheXpert's valid and test images.

The download holds CheXlocalize/ with the drawings, and CheXpert/ with the images and labels of the two splits:

    gt_annotations_{val,test}.json      image → {"img_size": [h, w], finding: [contour, …]}, a contour is [[x, y], …]
    gt_segmentations_{val,test}.json    image → {finding: {"size": [h, w], "counts": COCO compressed run lengths}}

An image is called patient…_study…_view…; sizes and coordinates are those of the full-size CheXpert file. The
segmentations are the filled contours, and empty masks for those of the ten findings that were not drawn.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from attrinet.data import annotations as notes
from attrinet.errors import AttrinetError

CHEXPERT_NAMES = {"Airspace Opacity": "Lung Opacity"}  # the one finding that CheXpert's label columns call otherwise
PARTS = ("val", "test")
MASKS, CONTOURS = "gt_segmentations_{}.json", "gt_annotations_{}.json"
FILES = ("val_labels.csv", "test_labels.csv", *(name.format(part) for name in (MASKS, CONTOURS) for part in PARTS))


def chexlocalize_files(folder: str | Path) -> dict[str, Path]:
    """Which of FILES there are, name → path, where `folder` holds CheXlocalize/ and CheXpert/ or is one of the two.

    Raises AttrinetError if there is none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise AttrinetError(f"{folder}: no such folder; give the one that holds CheXlocalize/ and CheXpert/")
    places = [near / name for near in (folder, folder.resolve().parent) for name in ("CheXlocalize", "CheXpert")]
    found = {name: next((p / name for p in (folder, *places) if (p / name).is_file()), None) for name in FILES}
    if not any(found.values()):
        raise AttrinetError(f"{folder}: has none of {', '.join(FILES)}; give the folder that holds CheXlocalize/ "
                            "and CheXpert/")
    return {name: path for name, path in found.items() if path}


def chexlocalize_annotations(
    files: Mapping[str, Path], ids: Collection[str], findings: Sequence[str]
) -> tuple[pd.DataFrame, dict]:
    """Masks of the images `ids` and of `findings` (CheXpert's names) → annotation table, and an account of the rest.

    The run-length mask is taken where there is one, the filled contours else; both keep the pixel size of the drawing.
    The account: {"files": paths read, "masks", "contours": rows from each, "left out": reason → (image, finding)
    pairs}. Raises AttrinetError naming file, image and finding for anything that cannot be read.
    """
    rows: list[dict] = []
    taken: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    for part in PARTS:
        for id, finding, drawing, file in drawings(files.get(MASKS.format(part)), files.get(CONTOURS.format(part))):
            row = None
            if is_empty(drawing):
                reason = "nothing drawn"
            elif finding not in findings:
                reason = "finding not used"
            elif id not in ids:
                reason = "image not used"
            elif "contours" in drawing and drawing["size"] is None:
                reason = "contours without image size"
            else:
                row, reason = to_row(id, finding, drawing, f"{file}: image {id!r}, {finding}"), "nothing drawn"
            if row is None:
                left_out[reason] += 1
            else:
                rows.append(row)
                taken["contours" if "contours" in drawing else "masks"] += 1
    read = [str(path) for name, path in files.items() if name.endswith(".json")]
    return notes.table(rows), {"files": read, "masks": taken["masks"], "contours": taken["contours"],
                               "left out": dict(left_out)}


def drawings(masks_file: Path | None, contours_file: Path | None) -> Iterator[tuple[str, str, dict, Path | None]]:
    """(image, finding, drawing, file) of every pair in either file. A drawing is {"size": [h, w], "counts": run
    lengths} where there is one, {"size": [h, w] or None, "contours": […]} else."""
    masks, contours = read_drawings(masks_file), read_drawings(contours_file)
    for id in dict.fromkeys([*masks, *contours]):
        own, drawn = masks.get(id, {}), contours.get(id, {})
        for name in dict.fromkeys([*own, *drawn]):
            if name == "img_size":
                continue
            drawing, file = {"size": drawn.get("img_size"), "contours": drawn.get(name)}, contours_file
            if name in own:
                drawing, file = own[name] if isinstance(own[name], dict) else {}, masks_file
            yield id, CHEXPERT_NAMES.get(name, name), drawing, file


def read_drawings(path: Path | None) -> dict[str, dict]:
    """One of the JSON files, {} for None. Raises AttrinetError naming it."""
    if path is None:
        return {}
    try:
        images = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise AttrinetError(f"{path}: not a readable JSON file ({error}); download it again") from error
    if not isinstance(images, dict) or not all(isinstance(image, dict) for image in images.values()):
        raise AttrinetError(f"{path}: want {{image: {{finding: …}}}}, as CheXlocalize writes it")
    return images


def is_empty(drawing: dict) -> bool:
    """No contour, or run lengths that are one single run: the first is always of zeros."""
    if "contours" in drawing:
        return drawing["contours"] == []
    counts = drawing.get("counts")
    return isinstance(counts, str) and all((ord(character) - 48) & 32 for character in counts[:-1])


def to_row(id: str, finding: str, drawing: dict, where: str) -> dict | None:
    """A drawing → annotation row; None if no pixel is inside. Raises AttrinetError that starts with `where`."""
    try:
        height, width = (int(side) for side in drawing["size"])
        if "contours" in drawing:
            mask = fill(drawing["contours"], height, width)
            return notes.mask_row(id, finding, mask) if mask.any() else None
        inside = notes.decode(drawing["counts"], width, height, id).any()
        return notes.rle_row(id, finding, drawing["counts"], width, height) if inside else None
    except (AttrinetError, KeyError, IndexError, TypeError, ValueError) as error:
        want = "contours [[[x, y], …], …]" if "contours" in drawing else 'a mask {"size": [h, w], "counts": "…"}'
        raise AttrinetError(f"{where}: not {want} ({error}); download the file again") from error


def fill(contours: Sequence[Sequence[Sequence[float]]], height: int, width: int) -> np.ndarray:
    """Filled contours, their outline included → (height, width) bool: how CheXlocalize makes its segmentations."""
    canvas = Image.new("1", (width, height))
    draw = ImageDraw.Draw(canvas)
    for contour in contours:
        points = [(float(x), float(y)) for x, y in contour]
        draw.polygon([*points, points[0]], fill=1, outline=1)  # closed, so that even one point marks its pixel
    return np.array(canvas, bool)
