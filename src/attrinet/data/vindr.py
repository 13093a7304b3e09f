"""VinDr-CXR (Nguyen et al., Scientific Data 2022): PhysioNet's edition, and Kaggle's of the VinBigData challenge."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from attrinet.data.images import read_grey
from attrinet.data.manifest import by_name, check_patients, counted, known, leave_out, split_by_patient
from attrinet.data.source import Source
from attrinet.data.vindr_boxes import vindr_annotations
from attrinet.data.vindr_tables import LABELS, Tables, agree, read_votes
from attrinet.data.walk import nameable
from attrinet.errors import AttrinetError

FINDINGS = (  # the paper's five, §4.1.1
    "Aortic enlargement", "Cardiomegaly", "Pulmonary fibrosis", "Pleural thickening", "Pleural effusion",
)
POLICIES = ("majority", "any", "all")
SUFFIXES = (".dicom", ".dcm", ".png", ".jpg", ".jpeg")  # the first that is there is read
NO_PATIENTS = "not published: every image counts as a patient of its own, so one patient may be in several splits"
NO_TEST = "this edition publishes no test labels"


def vindr_source(
    root: str | Path, *, findings: Sequence[str] = FINDINGS, policy: str = "majority", valid_fraction: float = 0.2,
    test_fraction: float = 0.2, seed: int = 0,
) -> Source:
    """VinDr-CXR as it is downloaded: 15,000 training images read by three radiologists each, 3,000 test images.

    root: PhysioNet's folder 1.0.0 with annotations/, train/ and test/; or Kaggle's with train.csv and train/ (DICOM, or
    PNG or JPEG copies); or a folder above it. findings: any of LABELS; Kaggle's edition has 14 of them.
    policy: when a finding is on a training image: "majority" (more than half of the radiologists who read it, however
    many they were), "any", "all". Test labels are a consensus and need none.
    valid_fraction: share of the training images that validates, drawn from `seed`. test_fraction: share set aside for
    testing before that, only where there are no official test labels (Kaggle's; 0.2 are as many images as the official
    test set has).

    The tables name no patient, and PatientID was removed from the DICOM headers: every image counts as a patient of
    its own. Two images of one patient may therefore be in different splits, and intervals over patients are intervals
    over images. All images are PA.

    Boxes of all radiologists are taken wherever the label holds. They are in pixels of the original image, whose size
    is read from the header of annotated images only. Resized copies must be scaled as a whole, without padding or
    cropping, and need a train_meta.csv beside them: image_id, dim0 (rows) and dim1 (columns) of the original.

    Left out and counted: duplicate rows, images without any label, files missing. Raises AttrinetError naming the
    option, file or line that is wrong, and where boxes lie so far outside the images that these must be resized copies.
    """
    findings = tuple(findings)
    check_options(findings, policy, valid_fraction, test_fraction)
    home, tables = find_tables(Path(root))
    excluded: Counter[str] = Counter()
    left_out: list[tuple[str, str]] = []
    parts, readers = [], {}
    for split, pair in tables.items():
        votes, duplicates = read_votes(pair, findings)
        excluded["duplicate row"] += len(duplicates)
        left_out += ((id, "duplicate row") for id in duplicates)
        counts = votes.groupby("image_id").size().value_counts().sort_index()
        readers[split] = {str(number): int(images) for number, images in counts.items()}
        parts.append(agree(votes, findings, policy).rename_axis("id").reset_index().assign(split=split))
    frame = pd.concat(parts, ignore_index=True)
    frame["patient"], frame["view"] = frame["id"], "PA"
    labels = {split: pair.main for split, pair in tables.items()}
    check_patients(frame, labels)

    files = image_files(home)
    frame["source"] = frame["id"].map(files)
    for split, path in labels.items():
        rows = frame[frame["split"] == split]
        if len(rows) and rows["source"].isna().all():
            raise AttrinetError(f"{path}: none of its {len(rows)} images was found in {home}; want them at "
                                f"{split}/{rows['id'].iloc[0]}.dicom (or .png, .jpg)")
    unread = sorted(set(files) - set(frame["id"]))
    excluded["no label"] += len(unread)
    ids, reasons = frame["id"], dict[int, str]()
    frame = usable(frame, findings, excluded, reasons)
    train = frame["split"] == "train"
    shares = {"train": 1 - valid_fraction, "valid": valid_fraction}
    if "test" not in tables:
        shares = {split: share * (1 - test_fraction) for split, share in shares.items()} | {"test": test_fraction}
    frame.loc[train.to_numpy(bool), "split"] = split_by_patient(frame["patient"][train], shares, seed)

    annotations, account = vindr_annotations(home, tables, frame, findings)
    test = "official" if "test" in tables else {"from": "train", "fraction": test_fraction, "because": NO_TEST}
    options = {
        "root": str(root), "policy": policy, "readers": readers, "patient": NO_PATIENTS,
        "split": {"test": test, "valid": {"from": "train", "fraction": valid_fraction}, "seed": seed},
        "labels": {split: str(path) for split, path in labels.items()}, "annotations": account,
    }
    manifest = frame[["id", "source", "patient", "split", "view", *findings]].reset_index(drop=True)
    return Source("vindr", findings, manifest, annotations, read_grey, dict(excluded), options,
                  left_out=[*left_out, *((id, "no label") for id in unread), *by_name(reasons, ids)])


def check_options(findings: Sequence[str], policy: str, valid_fraction: float, test_fraction: float) -> None:
    """Raise AttrinetError for a name or value that is none, with the nearest that is."""
    known("findings", findings, LABELS)
    known("policy", [policy], POLICIES)
    if not findings:
        raise AttrinetError("findings=[]: name at least one")
    if not 0 < valid_fraction < 1 or not 0 <= test_fraction < 1:
        raise AttrinetError(f"valid_fraction={valid_fraction}, test_fraction={test_fraction}: want shares of the "
                            "training images between 0 and 1")


def find_tables(root: Path) -> tuple[Path, dict[str, Tables]]:
    """The folder that holds the dataset, at or below `root`, and its tables, split → Tables."""
    below = [*root.glob("*/"), *root.glob("physionet.org/files/vindr-cxr/*/")]
    found = {home: tables for home in (root, *sorted(below)) if "train" in (tables := tables_in(home))}
    if root in found:
        return root, found[root]
    if len(found) != 1:
        names = f"several: {', '.join(home.name for home in found)}; name one of them" if found else "none"
        raise AttrinetError(f"{root}: want PhysioNet's annotations/image_labels_train.csv or Kaggle's train.csv in it "
                            f"or in a folder below it, found {names}")
    return next(iter(found.items()))


def tables_in(home: Path) -> dict[str, Tables]:
    """Split → its tables in `home` or home/annotations."""
    def first(*names: str) -> Path | None:
        return next((path for name in names if (path := home / name).is_file()), None)

    tables = {}
    for split, kaggle in (("train", ("train.csv",)), ("test", ())):
        names = [f"{folder}{kind}_{split}.csv" for kind in ("image_labels", "annotations")
                 for folder in ("annotations/", "")]
        pair = Tables(first(*names[:2]), first(*names[2:], *kaggle))
        if any(pair):
            tables[split] = pair
    return tables


def image_files(home: Path) -> dict[str, str]:
    """Image id → path of every image in train/ and test/, or anywhere below `home` if there is neither.

    Of several files of an image the first of SUFFIXES counts.
    """
    tops = [home / name for name in ("train", "test") if (home / name).is_dir()] or [home]
    files: dict[str, tuple[int, str]] = {}
    for parent, names in nameable(tops):
        for name in names:
            id, suffix = os.path.splitext(name)
            if suffix.lower() in SUFFIXES and not name.startswith("."):
                candidate = (SUFFIXES.index(suffix.lower()), os.path.join(parent, name))
                files[id] = min(files.get(id, candidate), candidate)
    return {id: path for id, (_, path) in files.items()}


def usable(
    frame: pd.DataFrame, findings: Sequence[str], excluded: Counter[str], reasons: dict[int, str]
) -> pd.DataFrame:
    """Rows that can be used; the others go to `excluded` and `reasons` (leave_out)."""
    frame = leave_out(frame, frame[list(findings)].isna().all(axis=1), "no label", excluded, reasons)
    frame = leave_out(frame, frame["source"].isna(), "file missing", excluded, reasons)
    if frame.empty:
        raise AttrinetError(f"VinDr-CXR: no image is left; {counted(excluded)}")
    return frame.copy()
