"""Boxes and masks that come beside a table of labels."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from attrinet.data import annotations as notes
from attrinet.data.images import SIDE_LIMIT, bare_name, image_size, read_grey
from attrinet.data.manifest import need_columns
from attrinet.data.table_names import Files, Names
from attrinet.data.tabular import read_table, slashed, stripped
from attrinet.data.walk import composed
from attrinet.errors import AttrinetError


def box_rows(
    path: str | Path | None, manifest: pd.DataFrame, names: Names, findings: Sequence[str]
) -> list[dict]:
    """Boxes of the images and findings that are used; a warning counts the others."""
    if path is None:
        return []
    table = read_table(path, dtype={"image": "string", "finding": "string"})
    need_columns(table, ("image", "finding", "x", "y", "w", "h"), str(path))
    table["image"], table["finding"] = slashed(stripped(table["image"])), stripped(table["finding"])
    rows, unused, denied = [], [], []
    for number, box in zip(table.index + 2, table.to_dict("records"), strict=True):
        try:
            row = names.find(str(box["image"]))
        except ValueError as error:
            raise AttrinetError(f"{path}: line {number}: several images are called {box['image']!r}; write it as in "
                                "the table of labels") from error
        if row is None or str(box["finding"]) not in findings:
            unused.append(f"line {number}, of {box['image']!r} and {box['finding']!r}")
            continue
        corners = pd.to_numeric(pd.Series([box[k] for k in "xywh"]), errors="coerce").to_numpy(float, na_value=np.nan)
        x, y, w, h = corners
        if not np.isfinite(corners).all() or w <= 0 or h <= 0:
            raise AttrinetError(f"{path}: line {number}: a box needs numbers x, y and positive w, h")
        sides = {k: box[k] for k in ("source_width", "source_height") if pd.notna(box.get(k))}
        if len(sides) == 1:
            raise AttrinetError(f"{path}: line {number}: gives only {next(iter(sides))}; give source_width and "
                                "source_height, or neither where the box is in pixels of the picture")
        if sides:
            width, height = (side_of(side, f"{path}: line {number}: {name}") for name, side in sides.items())
        try:
            file = image_size(manifest["source"][row])
        except AttrinetError:  # prepare leaves such an image out, counts and names it
            if not sides:
                continue
            file = width, height
        if not sides:
            width, height = file
        if x >= width or y >= height or x + w <= 0 or y + h <= 0:
            raise AttrinetError(f"{path}: line {number}: the box lies outside its image of {width}×{height} pixels; "
                                "for boxes of an original of another size give source_width and source_height")
        if (manifest[box["finding"]] == 0).fillna(False)[row]:
            denied.append(f"line {number}, of {box['image']!r} and {box['finding']!r}")
        placed = notes.in_file((x, y, w, h), (width, height), file)
        rows.append(notes.box_row(manifest["id"][row], box["finding"], *placed))
    if len(table) and len(unused) == len(table):
        raise AttrinetError(f"{path}: no box is of an image and a finding that are used; its first is of "
                            f"{table['image'].iloc[0]!r} and {table['finding'].iloc[0]!r}, the store has "
                            f"{manifest['id'].iloc[0]!r}, … and {', '.join(findings)}")
    if denied:
        warnings.warn(f"{path}: {len(denied)} of {len(table)} boxes are on images labelled as without the finding, and "
                      f"neither guide nor judge anything; the first is in {denied[0]}", stacklevel=2)
    if unused:
        warnings.warn(f"{path}: {len(unused)} of {len(table)} boxes are of no image and finding that are used, the "
                      f"first in {unused[0]}", stacklevel=2)
    return rows


def side_of(value: object, where: str) -> int:
    """A side of an image in pixels. Raises AttrinetError, beginning with `where`, for what can be none."""
    side = pd.to_numeric(pd.Series([value]), errors="coerce").to_numpy(float, na_value=np.nan)[0]
    if not 1 <= side <= SIDE_LIMIT or side != int(side):
        raise AttrinetError(f"{where} is {str(value)[:40]!r}; want whole pixels from 1 to {SIDE_LIMIT:,}")
    return int(side)


def mask_rows(folder: str | Path | None, manifest: pd.DataFrame, names: Names, findings: Sequence[str]) -> list[dict]:
    """Masks <image>_<finding>.png of the images that are used; a warning counts the other files.

    In a file's name a finding may have underscores for any of its characters but letters, digits and hyphens.
    """
    if folder is None:
        return []
    found: dict[tuple[int, int], Path] = {}
    unused = []
    for path in sorted(Files(Path(folder)).paths):
        meant = mask_of(Path(folder), path, names, findings)
        if meant is None:
            unused.append(path)
            continue
        if meant in found:
            raise AttrinetError(f"{folder}: {found[meant]} and {path} are masks of the same image and finding")
        found[meant] = path
    rows = []
    for (row, finding), path in sorted(found.items()):
        mask = read_grey(Path(folder) / path) > 0
        if mask.any():
            check_shape(Path(folder) / path, mask, manifest["source"][row])
            rows.append(notes.mask_row(manifest["id"][row], findings[finding], mask))
    if not rows:
        first = f"{bare_name(manifest['source'][0])}_{file_name(findings[0])}.png"
        raise AttrinetError(f"{folder}: no mask <image>_<finding>.png of any image and finding was found there, for "
                            f"instance {first}; its first file is {unused[0] if unused else 'a blank mask'}")
    if unused:
        warnings.warn(f"{folder}: {len(unused)} files are no masks of an image and finding that are used, the first is "
                      f"{unused[0]}", stacklevel=2)
    return rows


def file_name(finding: str) -> str:
    """Underscores for what is no letter, digit or hyphen."""
    return re.sub(r"[^\w-]", "_", finding)


def image_of(mask: str, finding: str) -> str:
    """What stands before _<finding>.png in a mask's name, each letter as it is or as file_name has it; else ""."""
    end = f"_{finding}.png"
    image, own = mask[: -len(end)], mask[-len(end) :]
    plain = f"_{file_name(finding)}.png"
    return image if len(own) == len(end) and all(a in (b, c) for a, b, c in zip(own, end, plain, strict=True)) else ""


def mask_of(folder: Path, path: Path, names: Names, findings: Sequence[str]) -> tuple[int, int] | None:
    """Row and finding that a file below `folder` is the mask of; None for other files, and for images not used.

    Raises AttrinetError where its name could mean several, also where only one of their images is used.
    """
    meant = []
    for finding in findings:
        image = image_of(composed(path.name), finding)
        try:
            name = names.called_so(str(path.parent / image)) if image else None
        except ValueError as error:
            raise AttrinetError(f"{folder / path}: several images are called so; put it into folders that are called "
                                "as those of the image") from error
        if name is not None:
            meant.append((name, finding))
    used = [(names.row[name], findings.index(finding)) for name, finding in meant if name in names.row]
    if used and len(meant) > 1:
        several = " and of ".join(f"{finding!r} in {name!r}" for name, finding in meant)
        raise AttrinetError(f"{folder / path}: could be a mask of {several}; call it <image with its suffix>_<finding>"
                            ".png, or one of them otherwise")
    return used[0] if used else None


def check_shape(path: Path, mask: np.ndarray, image: str) -> None:
    """Raise AttrinetError where a mask is no scaled copy of its image: it would lie elsewhere once that is padded."""
    try:
        width, height = image_size(image)
    except AttrinetError:
        return  # an unreadable image; prepare leaves it out, counts and names it
    if abs(mask.shape[1] * height - mask.shape[0] * width) > max(width, height, *mask.shape):
        raise AttrinetError(f"{path}: has {mask.shape[1]}×{mask.shape[0]} pixels, another shape than its image, "
                            f"{image}, of {width}×{height}")
