"""The boxes that VinDr-CXR's radiologists drew, in pixels of the original image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from attrinet.data import annotations as notes
from attrinet.data.images import image_size
from attrinet.data.manifest import first_line, leave_out
from attrinet.data.vindr_tables import LABELS, Tables, read_rows
from attrinet.errors import AttrinetError

CORNERS = ("x_min", "y_min", "x_max", "y_max")
SIZES = ("train_meta.csv", "test_meta.csv")  # of the resized copies that are passed around on Kaggle
BEYOND, MANY = 0.05, 0.1  # boxes leaving more than this share of the images by more than this share of a side: resized


def vindr_annotations(
    home: Path, tables: Mapping[str, Tables], manifest: pd.DataFrame, findings: Sequence[str]
) -> tuple[pd.DataFrame, dict]:
    """Boxes of every (image, finding) that is positive in `manifest` → annotation rows, and an account of them.

    The account says which tables were read, how many boxes are there, and how many were left out and why.
    """
    left_out: Counter[str] = Counter()
    paths = {split: pair.boxes for split, pair in tables.items() if pair.boxes}
    parts = [read_boxes(path, findings, left_out) for path in paths.values()]
    boxes = pd.concat(parts or [pd.DataFrame(columns=["id", "finding", "x", "y", "w", "h"])], ignore_index=True)

    boxes = leave_out(boxes, ~boxes["id"].isin(set(manifest["id"])), "image not used", left_out)
    held = {(id, finding) for finding in findings for id in manifest["id"][manifest[finding] == 1]}
    contradicted = [pair not in held for pair in zip(boxes["id"], boxes["finding"], strict=True)]
    boxes = leave_out(boxes, pd.Series(contradicted, boxes.index, dtype=bool), "label does not hold", left_out)
    sources = manifest.set_index("id")["source"]
    given = given_sizes(home)
    sizes = original_sizes(given, sources[boxes["id"].unique()])
    unreadable = ~boxes["id"].isin(set(sizes))  # prepare leaves such an image out, counts and names it
    boxes = leave_out(boxes, unreadable, "size unreadable", left_out)
    width, height = (boxes["id"].map({id: size[axis] for id, size in sizes.items()}).to_numpy(float) for axis in (0, 1))
    boxes = boxes.assign(width=width, height=height)
    check_sizes(boxes, sources, home)
    outside = ((boxes["x"] >= boxes["width"]) | (boxes["y"] >= boxes["height"]) | (boxes["x"] + boxes["w"] <= 0)
               | (boxes["y"] + boxes["h"] <= 0))
    boxes = leave_out(boxes, outside, "outside the image", left_out)
    copies = [id for id in boxes["id"].unique() if id in given]  # and maybe stretched
    files = original_sizes({}, sources[copies])
    rows = [notes.box_row(id, finding, *notes.in_file((x, y, w, h), sizes[id], files.get(id, sizes[id])))
            for id, finding, x, y, w, h in boxes[["id", "finding", *"xywh"]].to_numpy(object)]
    read = {split: str(path) for split, path in paths.items()} or "none given: this store has no boxes"
    return notes.table(rows), {"boxes": len(rows), "files": read, "left out": {k: v for k, v in left_out.items() if v}}


def given_sizes(home: Path) -> dict[str, tuple[int, int]]:
    """Image id → (width, height) of the original, from the tables of SIZES, where there are any."""
    sizes: dict[str, tuple[int, int]] = {}
    for path in (home / name for name in SIZES):
        if path.is_file():
            frame = read_rows(path, ("dim0", "dim1"))
            sides = [pd.to_numeric(frame[name], errors="coerce") for name in ("dim1", "dim0")]
            wrong = ~((sides[0] > 0) & (sides[1] > 0)).fillna(False)
            if wrong.any():
                raise AttrinetError(f"{path}: line {first_line(wrong)}: dim0 and dim1 are the rows and columns of the "
                                    "original image, positive numbers")
            pairs = zip(*(side.to_numpy(float).astype(int) for side in sides), strict=True)
            sizes |= dict(zip(frame["image_id"], pairs, strict=True))
    return sizes


def original_sizes(given: Mapping[str, tuple[int, int]], sources: pd.Series) -> dict[str, tuple[int, int]]:
    """Image id → (width, height) of the original: the given one, else that in the header of the file itself.

    sources: id → path. Images that cannot be read are not in it.
    """
    found = {}
    for id, source in zip(map(str, sources.index), sources, strict=True):
        try:
            found[id] = given[id] if id in given else image_size(source)
        except AttrinetError:
            continue
    return found


def check_sizes(boxes: pd.DataFrame, sources: pd.Series, home: Path) -> None:
    """Raise AttrinetError if boxes leave their images so often and so far that the sizes are not the originals'."""
    over = pd.concat([
        -boxes["x"] / boxes["width"], -boxes["y"] / boxes["height"],
        (boxes["x"] + boxes["w"]) / boxes["width"] - 1, (boxes["y"] + boxes["h"]) / boxes["height"] - 1,
    ], axis=1).max(axis=1)
    beyond = boxes[over > BEYOND]
    images, count = boxes["id"].nunique(), beyond["id"].nunique()
    if count > MANY * images:
        box = beyond.iloc[0]
        raise AttrinetError(
            f"{sources[box['id']]}: a box reaches to {box['x'] + box['w']:g}, {box['y'] + box['h']:g} on "
            f"{box['width']:g}×{box['height']:g} pixels, and so on {count} of {images} images: these are resized "
            f"copies. Give the sizes of the originals in {home / SIZES[0]}: image_id, dim0 (rows), dim1 (columns)")


def read_boxes(path: Path, findings: Sequence[str], left_out: Counter[str]) -> pd.DataFrame:
    """Boxes of `findings`: id, finding, x, y, w, h (float pixels of the original); what is not taken adds to left_out.

    Raises AttrinetError naming the line of a box without four numbers or without extent.
    """
    frame = read_rows(path, ("class_name", *CORNERS))
    unknown = ~frame["class_name"].isin(LABELS)
    left_out.update(f"unknown class {name}" for name in frame["class_name"][unknown])
    chosen = frame["class_name"].isin([finding for finding in findings if finding != "No finding"])
    left_out["finding not used"] += int((~chosen & ~unknown & (frame["class_name"] != "No finding")).sum())
    frame = frame[chosen]
    duplicate = frame.duplicated(["image_id", "rad_id", "class_name", *CORNERS])
    left_out["duplicate row"] += int(duplicate.sum())
    frame = frame[~duplicate]
    corners = frame[list(CORNERS)].apply(pd.to_numeric, errors="coerce").to_numpy(float, na_value=np.nan)
    good = np.isfinite(corners).all(axis=1) & (corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])
    if not good.all():
        wrong = pd.Series(~good, frame.index)
        row = frame[wrong].iloc[0]
        given = ", ".join(f"{name} {row[name]}" for name in CORNERS)
        raise AttrinetError(f"{path}: line {first_line(wrong)}: {row['class_name']} of image {row['image_id']!r} is no "
                            f"box ({given}); want numbers, x_min < x_max and y_min < y_max")
    return pd.DataFrame({
        "id": frame["image_id"], "finding": frame["class_name"], "x": corners[:, 0], "y": corners[:, 1],
        "w": corners[:, 2] - corners[:, 0], "h": corners[:, 3] - corners[:, 1],
    }).reset_index(drop=True)
