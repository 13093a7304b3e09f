"""ChestX-ray14 (Wang et al., CVPR 2017; the paper's ChestX-ray8) with its official split and its lesion boxes."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from attrinet.data import annotations as notes
from attrinet.data.images import read_grey
from attrinet.data.manifest import (
    by_name,
    first_line,
    in_several_splits,
    known,
    leave_out,
    need_columns,
    one_row_an_image,
    split_by_patient,
)
from attrinet.data.source import Source
from attrinet.data.tabular import read_table
from attrinet.data.walk import nameable
from attrinet.errors import AttrinetError

LABELS = (
    "No Finding", "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema", "Fibrosis",
    "Hernia", "Infiltration", "Mass", "Nodule", "Pleural_Thickening", "Pneumonia", "Pneumothorax",
)
FINDINGS = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion")  # the paper's five, §4.1.1
VIEWS = ("PA", "AP")
TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")  # the later one is taken where both are
LISTS = {"train": "train_val_list.txt", "test": "test_list.txt"}
BOXES = "BBox_List_2017.csv"
BOX_NAMES = {"Infiltrate": "Infiltration"}  # what only the box list calls so
SIDE = 1024  # pixels of the distributed PNG: boxes refer to it, whatever the size of the copy at hand
FOLDER = r"images(_0?\d?\d)?"  # images/, or images_001/ … images_012/
NO_ROW = "listed without a row of labels"
SHAPE = "images_001/images/00000001_000.png or images/00000001_000.png, and so on"


def chestxray14_source(
    root: str | Path, *, findings: Sequence[str] = FINDINGS, views: Sequence[str] = VIEWS,
    valid_fraction: float = 0.2, box_train: float = 0.0, seed: int = 0,
) -> Source:
    """ChestX-ray14 as NIH distributes it, or a copy of it with smaller PNG files of the same names.

    root: the folder with one of TABLES, both LISTS and BOXES (also as .gz), and the images in images_001/images/ …
    images_012/images/, in images/, or else anywhere below it.
    findings: any of LABELS. views: which of VIEWS to keep.
    valid_fraction: share of the patients of train_val_list.txt, drawn from `seed`, who validate (§4.1.1; of the images
    in the authors' code). The test images are those of test_list.txt.
    box_train: share of the test patients with boxes, drawn from `seed`, who join train with all their images. Every
    box is in the official test set: at 0, which leaves that as it is, guidance has no box to learn from. The paper
    guides with 40 % of the boxes (§4.1.2); its code leaves the images of these in the test set all the same.

    Left out and counted: duplicate rows, images in neither list, other views, files missing, and listed images that
    have no row in the table. Raises AttrinetError naming the option, file or line that is wrong, for two rows of one
    image that differ, and for an image or a patient in both lists.
    """
    findings, views, root = tuple(findings), tuple(views), Path(root)
    check_options(findings, views, valid_fraction, box_train)
    table, box_list = find(root, *TABLES), find(root, BOXES)
    lists = {split: find(root, name) for split, name in LISTS.items()}
    boxes = read_boxes(box_list)

    excluded: Counter[str] = Counter()
    frame = read_labels(table, findings)
    reasons: dict[int, str] = {}
    ids = frame["id"]
    frame = one_row_an_image(frame, str(table), excluded, reasons)
    split, unlabelled = official_split(frame, lists, table)
    excluded[NO_ROW] = len(unlabelled)
    frame = leave_out(frame.assign(split=split), split.isna(), "in neither list", excluded, reasons)
    # Drawn before anything else is left out, so that the same patients validate whatever views are chosen
    is_boxed = frame["id"].isin(set(boxes["id"])) & (frame["split"] == "test")
    shares = {"train": 1 - valid_fraction, "valid": valid_fraction}
    frame = draw(frame, frame["split"] == "train", shares, seed)
    frame = draw(frame, is_boxed, {"train": box_train, "test": 1 - box_train}, seed)

    for name in sorted(set(frame["view"]) - set(views)):
        frame = leave_out(frame, frame["view"] == name, f"{name} view", excluded, reasons)
    files = image_files(root)
    frame = frame.assign(source=frame["id"].map(files))
    if len(frame) and frame["source"].isna().all():
        raise AttrinetError(f"{root}: none of the {len(frame)} images was found among {len(files)} PNG files; want "
                            f"them at {SHAPE}")
    frame = leave_out(frame, frame["source"].isna(), "file missing", excluded, reasons)

    annotations, account = annotate(boxes, frame, findings)
    options = {
        "root": str(root), "labels": str(table), "lists": {split: str(path) for split, path in lists.items()},
        "views": list(views), "valid_fraction": valid_fraction, "box_train": box_train, "seed": seed,
        "annotations": {"file": str(box_list), **account},
    }
    manifest = frame[["id", "source", "patient", "split", "view", *findings]].reset_index(drop=True)
    return Source("chestxray14", findings, manifest, annotations, read_grey, dict(excluded), options,
                  left_out=[*by_name(reasons, ids), *((id, NO_ROW) for id in unlabelled)])


def check_options(findings: Sequence[str], views: Sequence[str], valid_fraction: float, box_train: float) -> None:
    """Raise AttrinetError for a name that is none, with the nearest that is, or a share that cannot be."""
    known("findings", findings, LABELS)
    known("views", views, VIEWS)
    if not findings or not views:
        raise AttrinetError(f"findings={list(findings)}, views={list(views)}: name at least one of each")
    if not 0 < valid_fraction < 1:
        raise AttrinetError(f"valid_fraction={valid_fraction}: want a share of the train_val patients between 0 and 1")
    if not 0 <= box_train < 1:
        raise AttrinetError(f"box_train={box_train}: want a share of the test patients with boxes, 0 to below 1")


def find(root: Path, *names: str) -> Path:
    """The first of these files that lies in root, as it is or as .gz."""
    for name in names:
        for path in (root / name, root / f"{name}.gz"):
            if path.is_file():
                return path
    raise AttrinetError(f"{root}: {' or '.join(names)} not found there; NIH distributes it next to the images")


def read_labels(path: Path, findings: Sequence[str]) -> pd.DataFrame:
    """The label table → id, patient, view, Int8 findings. Index + 2 is the line of the file."""
    # index_col: rows of the first edition end in a comma, which pandas takes for one column more than the header has
    frame = read_table(path, index_col=False)
    columns = ["Image Index", "Finding Labels", "Patient ID", "View Position"]
    need_columns(frame, columns, str(path))
    for column in columns:
        blank = frame[column].isna()
        if blank.any():
            raise AttrinetError(f"{path}: line {first_line(blank)}: {column!r} is blank")
    codes, joined = frame["Finding Labels"].factorize()  # far fewer combinations than rows
    combinations = [str(labels).split("|") for labels in joined]
    for k, labels in enumerate(combinations):
        if not set(labels) <= set(LABELS):
            known(f"{path}: line {frame.index[int(np.argmax(codes == k))] + 2}: Finding Labels", labels, LABELS)
    positive = np.array([[finding in labels for finding in findings] for labels in combinations], "int8")
    text = frame[columns].astype("string").astype(object)  # plain str: Arrow's are slow to look up one by one
    return pd.DataFrame({
        "id": text["Image Index"].str.removesuffix(".png"), "patient": text["Patient ID"],
        "view": text["View Position"],
        **{finding: pd.array(positive[codes, k], "Int8") for k, finding in enumerate(findings)},
    })


def official_split(frame: pd.DataFrame, lists: Mapping[str, Path], table: Path) -> tuple[pd.Series, list[str]]:
    """"train", "test" or missing for every row, and the listed images that have no row.

    Raises AttrinetError for a list that has nothing to do with the table, and for an image or a patient in both.
    """
    split: dict[str, str] = {}  # of every listed image
    both, rows = " and ".join(map(str, lists.values())), set(frame["id"])
    for name, path in lists.items():
        lines = read_table(path, header=None, names=["image"])["image"].astype("string").str.strip()
        ids = set(lines.dropna().str.removesuffix(".png"))
        if not ids & rows:
            raise AttrinetError(f"{path}: none of its {len(ids)} lines is an image of {table.name}; want one file name "
                                "a line")
        shared = ids & split.keys()
        if shared:
            raise AttrinetError(f"{both} share {len(shared)} images, {min(shared)!r} among them; the official lists "
                                "share none")
        split |= dict.fromkeys(ids, name)
    column = frame["id"].map(split)
    twice = in_several_splits(frame.assign(split=column))
    if len(twice):
        raise AttrinetError(f"{both} share {len(twice)} patients, {twice[0]!r} among them; the official lists share "
                            "none")
    return column, sorted(split.keys() - rows)


def draw(frame: pd.DataFrame, rows: pd.Series, shares: Mapping[str, float], seed: int) -> pd.DataFrame:
    """Split the patients of `rows`, with all their images, at these shares."""
    if not rows.any():
        return frame
    patients = frame["patient"][rows].unique()
    drawn = dict(zip(patients, split_by_patient(patients, shares, seed), strict=True))
    return frame.assign(split=frame["patient"].map(drawn).fillna(frame["split"]))


def image_files(root: Path) -> dict[str, str]:
    """File name without .png → path, in the folders of images or, if there are none, anywhere below root."""
    tops = sorted(path for path in root.iterdir() if path.is_dir() and re.fullmatch(FOLDER, path.name)) or [root]
    files: dict[str, str] = {}
    for parent, names in nameable(tops):
        for name in names:
            stem, suffix = os.path.splitext(name)
            path = os.path.join(parent, name)
            if suffix.lower() == ".png" and files.setdefault(stem, path) != path:
                raise AttrinetError(f"{files[stem]} and {path}: two images of one name; leave one set of images "
                                    f"in {root}, at {SHAPE}")
    return files


def read_boxes(path: Path) -> pd.DataFrame:
    """The box list → id, finding, and x, y, w, h in pixels of the SIDE × SIDE image.

    Columns are taken by position: the header has "Bbox [x,y,w,h]" for four of them. Raises AttrinetError naming the
    line of an unknown finding or of a box that is none.
    """
    names = ["id", "finding", *"xywh"]
    frame = read_table(path, header=0, names=names, usecols=range(6), index_col=False)
    frame[["id", "finding"]] = frame[["id", "finding"]].astype("string")
    frame["id"] = frame["id"].str.removesuffix(".png")
    frame["finding"] = frame["finding"].replace(BOX_NAMES)
    if frame.empty:
        raise AttrinetError(f"{path}: has no box; NIH's list has one a line below its header")
    for row in frame.index[~frame["finding"].isin(LABELS)][:1]:
        known(f"{path}: line {row + 2}: Finding Label", [str(frame["finding"][row])], LABELS)
    box = frame[list("xywh")].apply(pd.to_numeric, errors="coerce").to_numpy(float, na_value=np.nan)  # (N, 4)
    low, extent = box[:, :2], box[:, 2:]
    good = np.isfinite(box).all(1) & (extent > 0).all(1) & (low < SIDE).all(1) & (low + extent > 0).all(1)
    if not good.all():
        row = int(np.argmin(good))
        raw, line = frame[list("xywh")].iloc[row], frame.index[row] + 2
        said = ", ".join(str(text if np.isnan(number) else number) for text, number in zip(raw, box[row], strict=True))
        raise AttrinetError(f"{path}: line {line}: box {said}: want x, y and positive w, h, at least partly within "
                            f"{SIDE}×{SIDE} pixels")
    frame[list("xywh")] = box
    return frame


def annotate(boxes: pd.DataFrame, frame: pd.DataFrame, findings: Sequence[str]) -> tuple[pd.DataFrame, dict]:
    """Boxes of the images and findings that are used → annotation table, and an account of them."""
    left: Counter[str] = Counter()
    boxes = leave_out(boxes, ~boxes["finding"].isin(list(findings)), "finding not used", left)
    splits = boxes["id"].map(dict(zip(frame["id"], frame["split"], strict=True)))
    boxes = leave_out(boxes, splits.isna(), "image not used", left)
    columns = boxes[["id", "finding", *"xywh"]].to_numpy(object)
    rows = [notes.box_row(id, finding, x, y, w, h, SIDE, SIDE) for id, finding, x, y, w, h in columns]
    account = {"images": boxes["id"].nunique(), "boxes": {k: int(n) for k, n in sorted(splits.value_counts().items())}}
    return notes.table(rows), account | {"left out": dict(left)}
