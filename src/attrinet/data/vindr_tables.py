"""The tables of VinDr-CXR: which radiologist saw what on which image, and where.

PhysioNet's edition has two tables a split: image_labels_*.csv with one 0/1 column a finding, and annotations_*.csv with
one row a box. Kaggle's has the boxes alone, in train.csv. A row of class "No finding" has no box: it says that a
radiologist read the image. Tables of test have no column rad_id: they hold the consensus of five.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

import pandas as pd

from attrinet.data.manifest import first_line, need_columns
from attrinet.data.tabular import read_table
from attrinet.errors import AttrinetError

LABELS = (
    "Aortic enlargement", "Atelectasis", "Calcification", "Cardiomegaly", "Clavicle fracture", "Consolidation", "Edema",
    "Emphysema", "Enlarged PA", "ILD", "Infiltration", "Lung Opacity", "Lung cavity", "Lung cyst", "Mediastinal shift",
    "Nodule/Mass", "Pleural effusion", "Pleural thickening", "Pneumothorax", "Pulmonary fibrosis", "Rib fracture",
    "Other lesion",  # these 22 are drawn, the next six say something of the whole image
    "COPD", "Lung tumor", "Pneumonia", "Tuberculosis", "Other diseases", "No finding",
)
COLUMNS = ("image_id", "rad_id", "class_name", "x_min", "y_min", "x_max", "y_max")
# PhysioNet itself says "Other disease" in its table of test
OTHER_NAMES = {"Other disease": "Other diseases", "Other lesions": "Other lesion"}
SUFFIX = r"\.(?:dicom|dcm|png|jpe?g)$"
CONSENSUS = "consensus"


class Tables(NamedTuple):
    """The tables of one split; one of the two may be missing."""

    labels: Path | None
    boxes: Path | None

    @property
    def main(self) -> Path:
        """What says which image has which finding: the labels, or the boxes where these are all there is."""
        return cast(Path, self.labels or self.boxes)


def _key(name: object) -> str:
    return re.sub(r"[^a-z0-9]+", " ", str(name).lower()).strip()


STANDARD = {_key(name): name for name in (*LABELS, *COLUMNS)}
STANDARD |= {_key(name): standard for name, standard in OTHER_NAMES.items()}


def standard_name(name: object) -> str:
    """A column or class as PhysioNet's training table spells it: Pleural_Thickening → Pleural thickening."""
    return STANDARD.get(_key(name), str(name))


def read_rows(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A table with standard names, image_id without suffix, and rad_id "consensus" where it names nobody.

    Raises AttrinetError naming the file and the column or line that is wrong.
    """
    frame = read_table(path).rename(columns=standard_name)
    need_columns(frame, ("image_id", *columns), str(path))
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise AttrinetError(f"{path}: column {twice[0]!r} comes twice, in two spellings; keep one")
    if frame["image_id"].isna().any():
        raise AttrinetError(f"{path}: line {first_line(frame['image_id'].isna())}: no image_id")
    frame["image_id"] = frame["image_id"].astype("string").str.replace(SUFFIX, "", case=False, regex=True)
    frame["rad_id"] = frame["rad_id"].astype("string").fillna(CONSENSUS) if "rad_id" in frame else CONSENSUS
    if "class_name" in columns:
        frame["class_name"] = frame["class_name"].map(standard_name)
    return frame


def read_votes(tables: Tables, findings: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """One row a radiologist and image: image_id, rad_id, Int8 findings (1, 0, <NA> where blank); and the images of
    rows that say the same again.

    Without a table of labels a radiologist's label is whether he drew a box of that class.
    Raises AttrinetError for other values, for two readings that contradict each other, and for a finding nobody drew.
    """
    if tables.labels is None:
        return votes_of_boxes(tables.main, findings), []
    path = tables.main
    frame = read_rows(path, findings)[["image_id", "rad_id", *findings]]
    for finding in findings:
        values = pd.to_numeric(frame[finding], errors="coerce")
        wrong = frame[finding].notna() & ~values.isin([0, 1])
        if wrong.any():
            raise AttrinetError(f"{path}: line {first_line(wrong)}: {finding} is {frame[finding][wrong].iloc[0]}; "
                                "labels are 1, 0 or blank")
        frame[finding] = values.astype("Int8")
    duplicate = frame.duplicated()
    again, frame = frame["image_id"][duplicate].tolist(), frame[~duplicate]
    other = frame.duplicated(["image_id", "rad_id"])
    if other.any():
        row = frame[other].iloc[0]
        raise AttrinetError(f"{path}: line {first_line(other)}: {row['rad_id']!r} gave image {row['image_id']!r} other "
                            "labels in an earlier line; keep one of the two")
    return frame.reset_index(drop=True), again


def votes_of_boxes(path: Path, findings: Sequence[str]) -> pd.DataFrame:
    """read_votes where there are only boxes."""
    frame = read_rows(path, ("class_name",))
    for finding in findings:  # all-negative labels would pass for knowledge
        if not (frame["class_name"] == finding).any():
            drawn = ", ".join(sorted(frame["class_name"].unique()))
            raise AttrinetError(f"{path}: no row of class {finding!r}: choose other findings; there are {drawn}")
    drew = pd.DataFrame({finding: frame["class_name"] == finding for finding in findings})
    return drew.groupby([frame["image_id"], frame["rad_id"]], sort=False).any().astype("Int8").reset_index()


def agree(votes: pd.DataFrame, findings: Sequence[str], policy: str) -> pd.DataFrame:
    """Votes → one row an image (index image_id), Int8 findings; blank votes do not count, <NA> where all are blank.

    policy: majority (more than half of those who read the image), any, all.
    """
    groups = votes.groupby("image_id", sort=False)[list(findings)]
    cast, found = groups.count(), groups.sum()
    held = {"majority": 2 * found > cast, "any": found > 0, "all": found == cast}[policy]
    return held.astype("Int8").mask(cast == 0)
