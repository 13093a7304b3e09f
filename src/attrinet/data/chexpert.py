"""CheXpert (Irvin et al., AAAI 2019), with the test set and the segmentations of CheXlocalize (chexlocalize.py)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from attrinet.data.chexlocalize import CHEXPERT_NAMES, chexlocalize_annotations, chexlocalize_files
from attrinet.data.images import SUFFIXES, read_grey
from attrinet.data.manifest import (
    UNCERTAIN,
    by_name,
    check_patients,
    counted,
    first_line,
    known,
    leave_out,
    need_columns,
    one_row_an_image,
    policy_for,
    split_by_patient,
    uncertain_to_label,
)
from attrinet.data.source import Source
from attrinet.data.tabular import read_table
from attrinet.data.walk import nameable
from attrinet.errors import AttrinetError

LABELS = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema",
    "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture",
    "Support Devices",
)
FINDINGS = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")  # the paper's five, §4.1.1
VIEWS = ("frontal", "lateral", "AP", "PA")
BLANK = ("zeros", "ignore")
VALID = ("official", "train")
PATH = r"(patient\d+)[/\\](study\d+)[/\\](view\d+_(frontal|lateral))\.\w+$"
FOLDERS = ("train", "valid", "val", "test")  # what the images of a split lie in; CheXlocalize says val


def chexpert_source(
    root: str | Path, *, chexlocalize: str | Path | None = None, findings: Sequence[str] = FINDINGS,
    views: Sequence[str] = ("frontal",), uncertain: str | Mapping[str, str] = "zeros", blank: str = "zeros",
    valid: str = "official", valid_fraction: float = 0.02, seed: int = 0,
) -> Source:
    """CheXpert as it is downloaded, at full size or small.

    root: the folder with train.csv, valid.csv, train/ and valid/, or the one above it (also with the full-size batches
    side by side). chexlocalize: the folder with CheXlocalize/ and CheXpert/, or one of the two; brings the test split
    and the segmentations of valid and test. Without it there are neither.
    findings: any of LABELS. views: which of VIEWS to keep; frontal is AP, PA and the few of unknown projection.
    uncertain: what −1 becomes, for all findings or one a finding (manifest.uncertain_to_label). blank: what a label
    that the report does not mention becomes: zeros (the paper), or ignore (unknown).
    valid: "official"; or "train": `valid_fraction` of the training patients, drawn from `seed`, while the official
    validation images join train, so that guidance can learn from their segmentations without being validated on them.

    Left out and counted: duplicate rows, other views, images without any label, files missing. Raises AttrinetError
    naming the option, file or row that is wrong, for two rows of an image that differ, and for a patient in two of the
    official splits.
    """
    findings, views = tuple(findings), tuple(views)
    check_options(findings, views, uncertain, blank, valid, valid_fraction)
    home, images = find_home(Path(root))
    extra = chexlocalize_files(chexlocalize) if chexlocalize else {}
    tables = find_tables(home, extra, valid)
    frame = pd.concat(
        [read_labels(path, split, findings, uncertain, blank) for split, path in tables.items()], ignore_index=True
    )
    check_patients(frame, tables)
    files: dict[str, str] = {}
    for folder in dict.fromkeys([images, *(path.parent for path in tables.values())]):
        files = image_files(folder) | files  # CheXlocalize has the validation images too: root's are taken
    frame["source"] = frame["id"].map(files)
    for split, path in tables.items():
        rows = frame[frame["split"] == split]
        if len(rows) and rows["source"].isna().all():
            raise AttrinetError(f"{path}: none of its {len(rows)} images was found in {images} or {path.parent}; want "
                                f"them at {'/'.join(rows['id'].iloc[0].split('_', 2))}.jpg below a folder {split}/")
    excluded: Counter[str] = Counter()
    reasons: dict[int, str] = {}
    ids = frame["id"]
    frame = usable(frame, findings, views, " and ".join(map(str, tables.values())), excluded, reasons)
    if valid == "train":
        frame["split"] = split_train(frame, valid_fraction, seed)

    annotations, account = chexlocalize_annotations(extra, set(frame["id"]), findings)
    labels = {split: str(path) for split, path in tables.items()}
    if "test" not in tables:
        labels["test"] = "none given: this store has no test split; add --chexlocalize"
    options = {
        "root": str(root), "chexlocalize": str(chexlocalize) if chexlocalize else None, "views": list(views),
        "uncertain": uncertain if isinstance(uncertain, str) else dict(uncertain), "blank": blank,
        "valid": valid if valid == "official" else {"from": "train", "fraction": valid_fraction, "seed": seed},
        "labels": labels, "annotations": account,
    }
    manifest = frame[["id", "source", "patient", "split", "view", *findings]].reset_index(drop=True)
    return Source("chexpert", findings, manifest, annotations, read_grey, dict(excluded), options,
                  left_out=by_name(reasons, ids))


def check_options(
    findings: Sequence[str], views: Sequence[str], uncertain: str | Mapping[str, str], blank: str, valid: str,
    valid_fraction: float,
) -> None:
    """Raise AttrinetError for a name or value that is none, with the nearest that is."""
    policies = {"": uncertain} if isinstance(uncertain, str) else uncertain
    for option, given, choices in (
        ("findings", findings, LABELS), ("views", views, VIEWS), ("uncertain", set(policies) - {""}, LABELS),
        ("uncertain", policies.values(), UNCERTAIN), ("blank", [blank], BLANK),
        ("valid", [valid], VALID),
    ):
        known(option, given, choices)
    if not findings or not views:
        raise AttrinetError(f"findings={list(findings)}, views={list(views)}: name at least one of each")
    if valid == "train" and not 0 < valid_fraction < 1:
        raise AttrinetError(f"valid_fraction={valid_fraction}: want a share of the training patients between 0 and 1")


def find_home(root: Path) -> tuple[Path, Path]:
    """Folder with train.csv, and the folder that the images lie below."""
    if (root / "train.csv").is_file():
        return root, root
    below = sorted(path.parent for path in root.glob("*/train.csv"))
    if len(below) != 1:
        found = f"several: {', '.join(path.name for path in below)}; name one of them" if below else \
            "none; give the folder CheXpert-v1.0 or CheXpert-v1.0-small as it was unpacked"
        raise AttrinetError(f"{root}: want one train.csv in it or in a folder below it, found {found}")
    home = below[0]
    return home, home if (home / "train").is_dir() else root  # full-size batches: train.csv is in one, train in three


def find_tables(home: Path, extra: Mapping[str, Path], valid: str) -> dict[str, Path]:
    """Split → its label table, of root and of the files of CheXlocalize."""
    own = home / "valid.csv"
    tables = {"train": home / "train.csv", "valid": own if own.is_file() else extra.get("val_labels.csv"),
              "test": extra.get("test_labels.csv")}
    if valid == "official" and tables["valid"] is None:
        raise AttrinetError(f"{own}: not found; without it, choose valid='train' for a share of the training patients")
    return {split: path for split, path in tables.items() if path}


def read_labels(
    path: Path, split: str, findings: Sequence[str], uncertain: str | Mapping[str, str], blank: str
) -> pd.DataFrame:
    """One label table → id, patient, split, lateral (bool), view ("PA", "AP", "lateral", None), Int8 findings.

    Whatever stands before patient… in the Path column does not matter. The file name says frontal or lateral, so tables
    without the columns Frontal/Lateral and AP/PA (CheXlocalize's) will do. Raises AttrinetError naming the line where
    the column Frontal/Lateral says otherwise.
    """
    frame = read_table(path).rename(columns=CHEXPERT_NAMES)
    need_columns(frame, ("Path", *findings), str(path))
    parts = frame["Path"].astype("string").str.extract(PATH)
    wrong = parts[0].isna()
    if wrong.any():
        raise AttrinetError(f"{path}: line {first_line(wrong)}: Path {frame['Path'][wrong].iloc[0]!r} is not "
                            "…/patient…/study…/view…_frontal.jpg or …_lateral.jpg")
    lateral, projection = parts[3] == "lateral", pd.Series(pd.NA, frame.index, dtype="string")
    if "Frontal/Lateral" in frame:
        said = frame["Frontal/Lateral"].astype("string").str.strip().str.lower()
        other = said.isin(["frontal", "lateral"]) & (said != parts[3])
        if other.any():
            raise AttrinetError(f"{path}: line {first_line(other)}: Frontal/Lateral is {said[other].iloc[0]!r}, but "
                                f"the file is called {parts[2][other].iloc[0]}; correct the one that is wrong")
    if "AP/PA" in frame:
        projection = frame["AP/PA"].astype("string").str.strip().str.upper()
    is_view = [lateral.to_numpy(bool), *((projection == name).to_numpy(bool, na_value=False) for name in ("AP", "PA"))]
    out = pd.DataFrame({
        "id": parts[0] + "_" + parts[1] + "_" + parts[2], "patient": parts[0], "split": split, "lateral": is_view[0],
        "view": np.select(is_view, ["lateral", "AP", "PA"], np.array(None)),
    })
    for finding in findings:
        try:
            labels = uncertain_to_label(frame[finding], policy_for(uncertain, finding))
        except AttrinetError as error:
            raise AttrinetError(f"{path}: {error}") from error
        out[finding] = labels.mask(frame[finding].isna(), 0) if blank == "zeros" else labels
    return out


def image_files(folder: Path) -> dict[str, str]:
    """patient…_study…_view… → path of every image in the split folders of `folder`, or anywhere below it if there are
    none. Of two files of a view the JPEG that the tables name is taken, else the first of SUFFIXES."""
    tops = [folder / name for name in FOLDERS if (folder / name).is_dir()] or [folder]
    files: dict[str, str] = {}
    for parent, names in nameable(tops):
        study = "_".join(parent.split(os.sep)[-2:])
        images = [(stem, suffix) for stem, suffix in map(os.path.splitext, names) if suffix.lower() in SUFFIXES]
        for stem, suffix in sorted(images, key=lambda image: (image[1] != ".jpg", SUFFIXES.index(image[1].lower()))):
            files.setdefault(f"{study}_{stem}", os.path.join(parent, stem + suffix))
    return files


def usable(
    frame: pd.DataFrame, findings: Sequence[str], views: Sequence[str], where: str, excluded: Counter[str],
    reasons: dict[int, str],
) -> pd.DataFrame:
    """Rows that can be used; the others go to `excluded` and `reasons` (leave_out). where: the tables, for messages."""
    frame = one_row_an_image(frame, where, excluded, reasons)
    wanted = frame["view"].isin(list(views)) | ~frame["lateral"] & ("frontal" in views)
    frame = leave_out(frame, ~wanted & frame["lateral"], "lateral view", excluded, reasons)
    for name in ("AP", "PA"):
        frame = leave_out(frame, ~wanted[frame.index] & (frame["view"] == name), f"{name} view", excluded, reasons)
    frame = leave_out(frame, ~wanted[frame.index], "frontal view, neither AP nor PA", excluded, reasons)
    frame = leave_out(frame, frame[list(findings)].isna().all(axis=1), "no label", excluded, reasons)
    frame = leave_out(frame, frame["source"].isna(), "file missing", excluded, reasons)
    if frame.empty:
        raise AttrinetError(f"CheXpert: no image is left; {counted(excluded)}")
    return frame


def split_train(frame: pd.DataFrame, fraction: float, seed: int) -> pd.Series:
    """Official splits → validation from train, official validation to train."""
    split, train = frame["split"].replace("valid", "train"), frame["split"] == "train"
    split[train] = split_by_patient(frame["patient"][train], {"train": 1 - fraction, "valid": fraction}, seed)
    return split
