"""The user's own data: a table of labels, a folder of images, and optionally boxes or masks."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from attrinet.data import annotations as notes
from attrinet.data.images import SIDE_LIMIT, image_size, read_grey
from attrinet.data.manifest import check, need_columns, policy_for, split_by_patient, uncertain_to_label
from attrinet.data.source import SPLITS, Source
from attrinet.errors import AttrinetError

FRACTIONS = {"train": 0.7, "valid": 0.1, "test": 0.2}


def table_source(
    labels: str | Path, images: str | Path, *, findings: Sequence[str] = (), image_column: str = "image",
    patient_column: str | None = "patient", split_column: str | None = None, view_column: str | None = None,
    views: Sequence[str] = (), boxes: str | Path | None = None, masks: str | Path | None = None,
    uncertain: str | Mapping[str, str] = "zeros", fractions: Mapping[str, float] = FRACTIONS, seed: int = 0,
) -> Source:
    """A CSV or Parquet table with one row an image and one column a finding.

    labels: the table; values 1, 0, −1 (uncertain, see manifest.uncertain_to_label) or blank (unknown).
    images: folder searched, with its subfolders, for the names in image_column, with or without their suffix.
    findings: columns to use; none: every column of only such values. patient_column: keeps patients in one split;
    None: every image counts as a patient of its own. split_column: train, valid, test; without it a split by patient
    at `fractions` is made from `seed`. views: keep only these values of view_column.
    boxes: table with image, finding, x, y, w, h in pixels of the picture, or of the original whose size the columns
    source_width and source_height give. masks: folder of PNG masks <image name>_<finding>.png, white inside.

    Left out and counted: duplicate rows, other views, files missing, images without any label. Raises AttrinetError
    naming the file, column or row that is wrong.
    """
    frame, images = read_table(labels), Path(images)
    named = [c for c in (patient_column, split_column, view_column) if c]
    need_columns(frame, [image_column, *named], str(labels))
    findings = tuple(findings) or label_columns(frame, {image_column, patient_column, split_column, view_column})
    need_columns(frame, findings, str(labels))
    if views and not view_column:
        raise AttrinetError("views are chosen but no view column is named; add --view-column")
    if not findings:
        raise AttrinetError(f"{labels}: no column holds only 1, 0, -1 and blank; name the findings with --findings")
    excluded: Counter[str] = Counter()

    def drop(rows: pd.Series, reason: str) -> None:
        nonlocal frame
        excluded[reason] += int(rows.sum())
        frame = frame[~rows]

    drop(frame[image_column].isna(), "no image name")
    frame[image_column] = frame[image_column].astype("string")  # astype(str) spells out what is missing before pandas 3
    drop(frame[image_column].duplicated(), "duplicate row")
    if views:
        drop(~frame[view_column].astype("string").isin(list(views)), "other view")
    try:
        values = pd.DataFrame({f: uncertain_to_label(frame[f], policy_for(uncertain, f)) for f in findings})
    except AttrinetError as error:
        raise AttrinetError(f"{labels}: {error}") from error
    drop(values.isna().all(axis=1), "no label")
    files = index_files(images)
    paths = frame[image_column].map(lambda name: files.get(name) or files.get(Path(name).name))
    drop(paths.isna(), "file missing")
    if frame.empty:
        raise AttrinetError(f"{labels}: no image is left ({dict(excluded)}); are the images in {images}?")

    patients = frame[patient_column].astype("string") if patient_column else frame[image_column]
    if not patient_column:
        warnings.warn("no patient column: images of one patient may come to stand in different splits", stacklevel=2)
    manifest = pd.DataFrame({
        "id": frame[image_column].map(lambda name: Path(name).stem if Path(name).suffix else name),
        "source": paths[frame.index],
        "patient": patients,
        "split": frame[split_column].astype("string") if split_column else split_by_patient(patients, fractions, seed),
        "view": frame[view_column].astype("string") if view_column else None,
        **{f: values.loc[frame.index, f] for f in findings},
    }).reset_index(drop=True)
    if manifest["id"].duplicated().any():  # same name with different suffixes: keep the whole name
        manifest["id"] = frame[image_column].to_numpy()
    unknown = set(manifest["split"]) - set(SPLITS)
    if unknown:
        raise AttrinetError(f"{labels}: column {split_column!r} holds {sorted(map(str, unknown))[0]!r}; use train, "
                            "valid, test")
    rows = [*box_rows(boxes, manifest, findings), *mask_rows(masks, manifest, findings)]
    options = {
        "labels": str(labels), "images": str(images), "boxes": str(boxes) if boxes else None,
        "masks": str(masks) if masks else None,
        "uncertain": uncertain if isinstance(uncertain, str) else dict(uncertain),
        "split": split_column or {"by": "patient", "fractions": dict(fractions), "seed": seed}, "views": list(views),
    }
    source = Source("table", findings, manifest, notes.table(rows), read_grey, dict(excluded), options)
    try:
        check(source)
    except AttrinetError as error:
        raise AttrinetError(f"{labels}: {error}") from error
    return source


def read_table(path: str | Path, **csv: Any) -> pd.DataFrame:
    """CSV (also .gz; `csv`: for pandas.read_csv) or Parquet → DataFrame. Raises AttrinetError naming the file."""
    path = Path(path)
    try:
        parquet = path.suffix == ".parquet"
        frame = pd.read_parquet(path) if parquet else pd.read_csv(path, dtype_backend="numpy_nullable", **csv)
        for column in frame.columns if parquet else ():  # Arrow reads text that is no text, and complains later
            frame[column].to_numpy(object)
    except FileNotFoundError as error:
        raise AttrinetError(f"{path}: not found") from error
    except Exception as error:  # readers raise whatever they like on damaged bytes
        raise AttrinetError(f"{path}: not a readable table ({' '.join(str(error).split())[:150]})") from error
    return frame


def label_columns(frame: pd.DataFrame, others: set[str | None]) -> tuple[str, ...]:
    """Columns whose every value is 1, 0, −1 or blank."""
    found = []
    for name in frame.columns:
        values = pd.to_numeric(frame[name], errors="coerce")
        if name not in others and values.notna().any() and values.isna().eq(frame[name].isna()).all() \
                and values.dropna().isin([0, 1, -1]).all():
            found.append(str(name))
    return tuple(found)


def index_files(folder: Path) -> dict[str, str]:
    """File name, name without suffix, and path below `folder` → path, for every file below it."""
    if not folder.is_dir():
        raise AttrinetError(f"{folder}: no such folder of images")
    files: dict[str, str] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            files[os.path.relpath(path, folder)] = path
            files.setdefault(name, path)
            files.setdefault(os.path.splitext(name)[0], path)
    return files


def _ids(manifest: pd.DataFrame) -> dict[str, int]:
    rows = {row: k for k, row in enumerate(manifest["id"])}
    return rows | {Path(source).name: k for k, source in enumerate(manifest["source"])}


def box_rows(path: str | Path | None, manifest: pd.DataFrame, findings: Sequence[str]) -> list[dict]:
    """Boxes of the images and findings that are used; others are ignored."""
    if path is None:
        return []
    table = read_table(path)
    need_columns(table, ("image", "finding", "x", "y", "w", "h"), str(path))
    known, rows = _ids(manifest), []
    for number, box in enumerate(table.to_dict("records"), start=2):
        row = known.get(str(box["image"]), known.get(Path(str(box["image"])).stem))
        if row is None or box["finding"] not in findings:
            continue
        corners = pd.to_numeric(pd.Series([box[k] for k in "xywh"]), errors="coerce").to_numpy(float, na_value=np.nan)
        x, y, w, h = corners
        if not np.isfinite(corners).all() or w <= 0 or h <= 0:
            raise AttrinetError(f"{path}: line {number}: a box needs numbers x, y and positive w, h")
        if pd.notna(box.get("source_width", pd.NA)) and pd.notna(box.get("source_height", pd.NA)):
            width, height = (side_of(box[k], f"{path}: line {number}: {k}") for k in ("source_width", "source_height"))
        else:
            try:
                width, height = image_size(manifest["source"][row])
            except AttrinetError:
                continue  # an unreadable image; prepare leaves it out, counts and names it
        rows.append(notes.box_row(manifest["id"][row], box["finding"], x, y, w, h, width, height))
    return rows


def side_of(value: object, where: str) -> int:
    """A side of an image in pixels. Raises AttrinetError, beginning with `where`, for what can be none."""
    side = pd.to_numeric(pd.Series([value]), errors="coerce").to_numpy(float, na_value=np.nan)[0]
    if not 1 <= side <= SIDE_LIMIT or side != int(side):
        raise AttrinetError(f"{where} is {str(value)[:40]!r}; want whole pixels from 1 to {SIDE_LIMIT:,}")
    return int(side)


def mask_rows(folder: str | Path | None, manifest: pd.DataFrame, findings: Sequence[str]) -> list[dict]:
    """Masks <image id>_<finding>.png (spaces of a finding may be underscores)."""
    if folder is None:
        return []
    files, rows = index_files(Path(folder)), []
    for id in manifest["id"]:
        for finding in findings:
            path = files.get(f"{id}_{finding}.png") or files.get(f"{id}_{finding.replace(' ', '_')}.png")
            if path is None:
                continue
            mask = read_grey(path) > 0
            if mask.any():
                rows.append(notes.mask_row(id, finding, mask))
    if not rows:
        raise AttrinetError(f"{folder}: no mask <image>_<finding>.png of any image and finding was found there")
    return rows


