"""The user's own data: a table of labels, a folder of images, and optionally boxes or masks."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from attrinet.data import annotations as notes
from attrinet.data.images import SIDE_LIMIT, bare_name, image_size, read_grey
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
from attrinet.data.walk import composed, folders
from attrinet.errors import AttrinetError

FRACTIONS = {"train": 0.7, "valid": 0.1, "test": 0.2}
NAMED = 6  # columns in one message
NO_FINDINGS = ("age", "sex", "gender")  # also where they are 0 and 1; name them with --findings to have them
BREAK = r"\r\n?|\n"
HEADER_LINES = 50  # to look for the end of a header whose names hold line breaks
OPEN: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
SEVERAL = ""  # in place of a path: it cannot be told which file is meant


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


def read_table(path: str | Path, **csv: Any) -> pd.DataFrame:
    """CSV (also .gz; `csv`: for pandas.read_csv) or Parquet (a named index is a column too) → DataFrame, its index the
    number of the row, also where the rows have a name without a column (R writes such), or, where a CSV has blank lines
    or line breaks in its cells (reports), what first_line makes the line of. Raises AttrinetError naming the file."""
    path = Path(path)
    try:
        if path.suffix == ".parquet":
            frame = pd.read_parquet(path)
            index = [name for name in frame.index.names if name is not None and name not in frame.columns]
            frame = frame.reset_index(level=index) if index else frame
            for column in frame.columns:  # Arrow reads text that is no text, and complains later
                held = frame[column].to_numpy(object)
                if any(isinstance(value, (list, dict, np.ndarray)) for value in held):
                    frame[column] = [str(value) for value in held]  # a word in messages, as a CSV would have it
            names = [composed(str(name).strip()) for name in frame.columns]
            if len(set(names)) < len(names):
                raise ValueError(f"columns {', '.join(names)} are not all different")
            return frame.set_axis(pd.Index(names), axis=1).reset_index(drop=True)
        return read_csv(path, **csv)
    except FileNotFoundError as error:
        raise AttrinetError(f"{path}: not found") from error
    except Exception as error:  # readers raise whatever they like on damaged bytes
        if isinstance(error, UnicodeDecodeError) and path.suffix != ".parquet":
            raise AttrinetError(f"{path}: not a readable table, as its text is not UTF-8; save it as UTF-8 (Excel: "
                                "\"CSV UTF-8\")") from error
        raise AttrinetError(f"{path}: not a readable table ({' '.join(str(error).split())[:150]})") from error


def read_csv(path: Path, **csv: Any) -> pd.DataFrame:
    """Separated by commas, semicolons or tabs, whichever the header has most of, or as Excel's first line (sep=;) says;
    with a semicolon 1,5 is 1.5. Spaces around the names of columns do not count."""
    lines, sign, skip, breaks = text_lines(path), ",", 0, 0
    if "names" not in csv:
        said = re.fullmatch(r"sep=([,;\t]) *", lines[0], re.IGNORECASE)
        skip = 1 if said else 0
        sign = said[1] if said else separator(lines)
        layout: dict[str, Any] = {"sep": sign, "skiprows": skip}
        header = pd.read_csv(path, nrows=0, **layout).columns
        own = pd.read_csv(path, nrows=1, header=None, dtype=str, index_col=False, **layout).iloc[0].dropna()
        breaks, own = int(own.str.count(BREAK).sum()), own.str.strip().str.normalize("NFC")
        if own.duplicated().any():
            raise ValueError(f"two columns are called {own[own.duplicated()].iloc[0]!r}")
        csv |= layout | {"decimal": "," if sign == ";" else ".", "header": 0,
                         "names": header.str.strip().str.normalize("NFC")}
    frame = pd.read_csv(path, dtype_backend="numpy_nullable", **csv).reset_index(drop=True)
    if csv.get("header", 0) is None:
        return frame
    blank = [not line.strip(" \t".replace(sign, "")) for line in lines]
    return at_lines(frame, blank, next_line(blank, skip) + 1 + breaks)


def text_lines(path: Path) -> list[str]:
    """The lines of a text; a single blank one where only pandas can unpack it."""
    if path.suffix in (".zip", ".zst", ".tar"):
        return [""]
    with OPEN.get(path.suffix, open)(path, "rt", encoding="utf-8-sig", errors="replace") as file:
        return file.read().split("\n")


def separator(lines: Sequence[str]) -> str:
    """What stands most often between the names of the first line that is not blank, outside of quotes; else a comma."""
    top = next_line([not line.strip() for line in lines], 0)
    header = re.sub(r'(?<![^,;\t])"(?:[^"]|"")*"', "", "\n".join(lines[top : top + HEADER_LINES])).split("\n")[0]
    return max(",;\t", key=header.count)


def next_line(blank: Sequence[bool], line: int) -> int:
    """The first at or after `line` that is not blank."""
    while line < len(blank) and blank[line]:
        line += 1
    return line


def at_lines(frame: pd.DataFrame, blank: Sequence[bool], line: int) -> pd.DataFrame:
    """The rows of a CSV, numbered as read_table says. blank: of every line; line: the first below the header."""
    text = [c for c in frame.columns if pd.api.types.is_string_dtype(frame[c])]
    heights = 1 + sum((frame[c].str.count(BREAK).fillna(0).to_numpy(int) for c in text), np.zeros(len(frame), int))
    numbers = []
    for height in heights.tolist():
        line = next_line(blank, line)
        numbers.append(line - 1)
        line += height
    return frame if numbers == list(range(len(frame))) else frame.set_axis(numbers)


def stripped(column: pd.Series) -> pd.Series:
    """Text without the spaces around it, and composed, or one patient would be two; missing where nothing is left."""
    text = column.astype("string").str.strip()  # astype(str) spells out what is missing before pandas 3
    return text.str.normalize("NFC").mask(text == "")


def slashed(paths: pd.Series) -> pd.Series:
    """Paths as Windows writes them with / between folders."""
    return paths.str.replace("\\", "/", regex=False)


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


class Paths:
    """Relative paths, to be found by how they end, with or without the suffix of an image."""

    def __init__(self, paths: Iterable[Path]):
        self.paths = list(paths)
        self._whole = self._index(len)
        self._ends: dict[int, dict[str, list[Path]]] = {}

    def levels(self, parts: Sequence[str]) -> Iterator[list[Path]]:
        """Paths that end in these folders and this name; then, folder by folder fewer, those whose all these end in.

        So folders must agree as far as both have some: what lies in other folders is of another patient.
        """
        count = len(parts)
        if count not in self._ends:
            self._ends[count] = self._index(lambda _: count)
        parts = composed("/".join(parts)).split("/")
        yield self._ends[count].get("/".join(parts), [])
        for k in range(1, count):
            yield self._whole.get("/".join(parts[k:]), [])

    def _index(self, count: Callable[[tuple[str, ...]], int]) -> dict[str, list[Path]]:
        """The last `count` parts of a path, with and without suffix → the paths."""
        index: dict[str, list[Path]] = defaultdict(list)
        for path in self.paths:
            parts = path.parts
            if count(parts) <= len(parts):
                for name in {path.name, bare_name(path)}:
                    index[composed("/".join([*parts[len(parts) - count(parts) : -1], name]))].append(path)
        return index


class Files(Paths):
    """The files of a folder and all below it, also behind links. Raises AttrinetError where there is no folder."""

    def __init__(self, folder: Path):
        if not folder.is_dir():
            raise AttrinetError(f"{folder}: no such folder of images")
        self.folder = folder
        super().__init__(Path(os.path.relpath(parent, folder)) / name
                         for parent, names in folders([folder]) for name in names)

    def find(self, asked: str) -> str | None:
        """The one file that `asked` can mean (see levels); None where there is none, SEVERAL where one cannot tell."""
        want = Path(composed(asked))
        parts = [part for part in want.parts if part != os.sep]
        if not parts:
            return None
        found = next(filter(None, self.levels(parts)), [])
        found = ([path for path in found if composed(str(path)) == str(want)] or
                 [path for path in found if composed(path.name) == parts[-1]] or found)
        return None if not found else SEVERAL if len(found) > 1 else str(self.folder / found[0])


def first_missing(names: pd.Series, files: Files) -> str:
    """The first three files that are missing, and one of them that is there with another ending; begins with ": "."""
    if names.empty:
        return ""
    said = ": " + ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    for name in map(Path, names):
        there = files.find(str(name.parent / bare_name(name))) if bare_name(name) != name.name else None
        if there:
            return f"{said}; {Path(there).name} is there, the table says {name.suffix}"
    return said


class Names:
    """Which of the images that are used an annotation means. called: the image column before rows were left out; used:
    of the rows that are left. A name of an image that was left out means none of the others."""

    def __init__(self, called: Sequence[str], used: Sequence[str]):
        self.called = set(called)
        self.row = {name: k for k, name in enumerate(used)}

    @cached_property
    def _paths(self) -> Paths:
        return Paths(map(Path, self.called))

    @cached_property
    def _name_of_path(self) -> dict[Path, str]:
        return {Path(name): name for name in (*self.called, *self.row)}

    def find(self, asked: str) -> int | None:
        """Row of the image; None for one that is not used. Raises ValueError where several are called so."""
        name = self.called_so(asked)
        return None if name is None else self.row.get(name)

    def called_so(self, asked: str) -> str | None:
        """The name of the image, used or not; None where there is none. Raises ValueError where several are meant."""
        asked = composed(asked)
        if asked in self.called:
            return asked
        want = Path(asked)
        found = {path for name in (want.name, bare_name(want))
                 for level in self._paths.levels((*want.parts[:-1], name)) for path in level}
        if len(found) > 1:
            raise ValueError(asked)
        return self._name_of_path[found.pop()] if found else None


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
