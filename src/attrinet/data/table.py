"""The user's own data: a table of labels, a folder of images, and optionally boxes or masks."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from attrinet.data import annotations as notes
from attrinet.data.images import bare_name, read_grey
from attrinet.data.manifest import (
    NO_PATIENTS,
    check_rows,
    counted,
    first_line,
    known,
    leave_out,
    need_columns,
    policy_for,
    split_by_patient,
    uncertain_to_label,
)
from attrinet.data.source import SPLITS, Source
from attrinet.data.table_lesions import box_rows, mask_rows
from attrinet.data.table_names import SEVERAL, Files, Names, first_missing
from attrinet.data.tabular import read_table, slashed, stripped
from attrinet.data.walk import composed
from attrinet.errors import AttrinetError

FRACTIONS = {"train": 0.7, "valid": 0.1, "test": 0.2}
NAMED = 6  # columns in one message
NO_FINDINGS = ("age", "sex", "gender")  # also where they are 0 and 1; name them with --findings to have them


def table_source(
    labels: str | Path, images: str | Path, *, findings: Sequence[str] = (), image_column: str = "image",
    patient_column: str | None = "patient", split_column: str | None = None, view_column: str | None = None,
    views: Sequence[str] = (), boxes: str | Path | None = None, masks: str | Path | None = None,
    uncertain: str | Mapping[str, str] = "zeros", fractions: Mapping[str, float] = FRACTIONS, seed: int = 0,
) -> Source:
    """A CSV or Parquet table with one row an image and one column a finding.

    labels: the table; values 1, 0, −1 (uncertain, see manifest.uncertain_to_label) or blank (unknown). Spaces around
    the names of columns, images, patients, splits and views do not count.
    images: folder searched, with its subfolders, for the names in image_column, with or without their suffix, and
    with / or \\ between folders; see Paths.levels.
    findings: columns to use; none: every column of only such values, but NO_FINDINGS. patient_column: keeps patients in
    one split; None: every image counts as a patient of its own. split_column: train, valid, test; without it a split by
    patient at `fractions` is made from `seed`. views: keep only these values of view_column, in upper or lower case.
    boxes: table with image, finding, x, y, w, h in pixels of the picture, or of the original whose size the columns
    source_width and source_height give. masks: folder of PNG masks <image name>_<finding>.png, white inside.

    Left out and counted: duplicate rows, other views, files missing or several of a name, images without any label.
    Raises AttrinetError naming the file, column or row that is wrong, also where two rows lead to one file.
    """
    image_column, findings = composed(image_column), tuple(map(composed, findings))
    patient_column, split_column, view_column = (
        composed(c) if c else None for c in (patient_column, split_column, view_column))
    if not isinstance(uncertain, str):
        uncertain = {composed(finding): policy for finding, policy in uncertain.items()}
    text = [c for c in (image_column, patient_column, split_column, view_column) if c]  # 007 is not 7
    frame, images = read_table(labels, dtype=dict.fromkeys(text, "string")), Path(images)
    named = [c for c in (patient_column, split_column, view_column) if c]
    need_columns(frame, [image_column], str(labels), "name it with --image-column")
    if patient_column:
        need_columns(frame, [patient_column], str(labels), "name it with --patient-column, or '' if there is none")
    need_columns(frame, named, str(labels))
    for column in text:
        frame[column] = stripped(frame[column])
    frame[image_column] = slashed(frame[image_column])
    findings = findings or label_columns(frame, set(text), str(labels))
    need_columns(frame, findings, str(labels))
    if views and not view_column:
        raise AttrinetError("views are chosen but no view column is named; add --view-column")
    if not isinstance(uncertain, str):
        known(f"{labels}: uncertain", uncertain, findings)
    if not split_column and not abs(sum(fractions.values()) - 1) <= 0.01:  # also NaN
        raise AttrinetError(f"fractions {', '.join(map(str, fractions.values()))} of the patients: want three that add "
                            "up to 1")
    excluded: Counter[str] = Counter()
    reasons: dict[int, str] = {}
    asked = frame[image_column].fillna("")

    frame = leave_out(frame, asked == "", "no image name", excluded, reasons)
    again = frame.duplicated([image_column, *named, *findings])
    frame = leave_out(frame, again, "duplicate row", excluded, reasons)
    twice = frame[image_column].duplicated(keep=False)
    if twice.any():
        name = frame[image_column][twice].iloc[0]
        first, second = frame.index[frame[image_column] == name][:2] + 2
        raise AttrinetError(f"{labels}: lines {first} and {second} say different things of the image {name!r}; keep "
                            "one row an image")
    called = frame[image_column].tolist()
    if views:
        there, these = frame[view_column].dropna().unique(), [composed(view).casefold() for view in views]
        other = ~frame[view_column].str.casefold().isin(these)
        frame = leave_out(frame, other, "other view", excluded, reasons)
        if frame.empty:
            raise AttrinetError(f"{labels}: no row has one of the views {', '.join(views)}; column {view_column!r} "
                                f"holds {', '.join(there[:10]) or 'none'}")
    try:
        values = pd.DataFrame({f: uncertain_to_label(frame[f], policy_for(uncertain, f)) for f in findings})
    except AttrinetError as error:
        raise AttrinetError(f"{labels}: {error}") from error
    frame = leave_out(frame, values.isna().all(axis=1), "no label", excluded, reasons)
    files = Files(images)
    paths = pd.Series([files.find(name) for name in frame[image_column]], frame.index, dtype=object)
    frame = leave_out(frame, paths == SEVERAL, "several files of that name", excluded, reasons)
    gone = first_missing(frame[image_column][paths[frame.index].isna()], files)
    frame = leave_out(frame, paths[frame.index].isna(), "file missing", excluded, reasons)
    paths = paths[frame.index]
    for column in filter(None, (patient_column, split_column)):
        blank = frame[column].isna()
        if blank.any():
            raise AttrinetError(f"{labels}: line {first_line(blank)}: column {column!r} says nothing; fill it in, with "
                                "no word that stands for a missing value (NA, None, nan)")
    if frame.empty:
        raise AttrinetError(f"{labels}: no image is left ({counted(excluded)}){gone}; are the images in {images}?")
    lost, wanted = excluded["file missing"], excluded["file missing"] + len(frame)
    if 5 * lost > wanted:
        warnings.warn(f"{labels}: {lost} of {wanted} files are missing in {images}{gone}", stacklevel=2)

    twice = paths.duplicated(keep=False)
    if twice.any():
        path = paths[twice].iloc[0]
        first, second = frame[image_column][paths == path].iloc[:2]
        raise AttrinetError(f"{labels}: {first!r} and {second!r} in column {image_column!r} lead to one file, {path}; "
                            f"name each image by its path below {images}")
    patients = frame[patient_column or image_column]
    if not patient_column:
        warnings.warn("no patient column: images of one patient may come to stand in different splits", stacklevel=2)
    manifest = pd.DataFrame({
        "id": frame[image_column].map(bare_name),
        "source": paths,
        "patient": patients,
        "split": frame[split_column] if split_column else split_by_patient(patients, fractions, seed),
        "view": frame[view_column] if view_column else None,
        **{f: values.loc[frame.index, f] for f in findings},
    }).reset_index(drop=True)
    if manifest["id"].duplicated().any():  # same name with other suffixes or in other folders: keep the whole name
        manifest["id"] = frame[image_column].to_numpy()
    unknown = set(manifest["split"]) - set(SPLITS)
    if unknown:
        raise AttrinetError(f"{labels}: column {split_column!r} holds {sorted(map(str, unknown))[0]!r}; use train, "
                            "valid, test")
    names = Names(called, frame[image_column].tolist())
    rows = [*box_rows(boxes, manifest, names, findings), *mask_rows(masks, manifest, names, findings)]
    options = {
        "labels": str(labels), "images": str(images), "boxes": str(boxes) if boxes else None,
        "masks": str(masks) if masks else None,
        "uncertain": uncertain if isinstance(uncertain, str) else dict(uncertain),
        "split": split_column or {"by": "patient", "fractions": dict(fractions), "seed": seed}, "views": list(views),
        **({} if patient_column else {"patient": NO_PATIENTS}),
    }
    source = Source("table", findings, manifest, notes.table(rows), read_grey, dict(excluded), options,
                    left_out=[(asked[k], f"line {k + 2}: {reasons[k]}") for k in sorted(reasons)])
    try:
        check_rows(source)
    except AttrinetError as error:
        raise AttrinetError(f"{labels}: {error}") from error
    return source


def label_columns(frame: pd.DataFrame, others: set[str], where: str) -> tuple[str, ...]:
    """Columns whose every value is 1, 0, −1 or blank, but NO_FINDINGS; one warning names those that are
    not, of the fewest different values first. Raises AttrinetError where none is."""
    found: list[str] = []
    passed: dict[str, int] = {}
    for name in (c for c in frame.columns if c not in others and c.casefold() not in NO_FINDINGS):
        given = frame[name].notna()
        wrong = given & ~pd.to_numeric(frame[name], errors="coerce").isin([0, 1, -1])
        if given.any() and not wrong.any():
            found.append(name)
        else:
            first = str(frame[name][wrong].iloc[0])[:20] if wrong.any() else ""
            holds = f"line {first_line(wrong)} holds {first!r}" if first else "blank"
            passed[f"{name} ({holds})"] = frame[name].astype("string").nunique() or len(frame)
    shown = ", ".join(sorted(passed, key=passed.__getitem__)[:NAMED])
    more = f" and {len(passed) - NAMED} more" if len(passed) > NAMED else ""
    said = f"not taken as findings: {shown or 'none'}{more}; a finding's cells are 1, 0, -1 or blank"
    if not found:
        raise AttrinetError(f"{where}: no column of labels; {said}")
    if passed:
        warnings.warn(f"{where}: {said}", stacklevel=3)
    return tuple(found)
