"""What can be prepared: one entry an adapter. Nothing is downloaded by this package."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """adapter: name after `attrinet prepare`. source, terms: who distributes the data, and what one has to accept.
    needs: what must lie in the folder. example: arguments of the command."""

    adapter: str
    title: str
    source: str
    terms: str
    needs: str
    example: str


CATALOG = (
    Entry(
        "table", "your own images: a table of labels, a folder of PNG, JPEG or DICOM files, optionally boxes or masks",
        "you", "yours", "a CSV or Parquet file with one row an image and one column a finding",
        "--labels labels.csv --images png/ --boxes boxes.csv --out stores/mine",
    ),
    Entry(
        "phantom", "procedural frontal radiographs with five findings known to the pixel, for teaching and tests",
        "drawn on the spot from a seed", "none", "nothing", "--n 3000 --size 64 --out stores/phantom",
    ),
    Entry(
        "vindr", "VinDr-CXR: 18,000 radiographs with the boxes of 17 radiologists (Nguyen et al., 2022)",
        "physionet.org/content/vindr-cxr/1.0.0, or the training half as kaggle.com/c/"
        "vinbigdata-chest-xray-abnormalities-detection",
        "PhysioNet: credentialed access (CITI training), PhysioNet Credentialed Health Data License 1.5.0 and data use "
        "agreement; Kaggle: the rules of the competition, accepted there",
        "annotations/, train/ and test/ (PhysioNet), or train.csv and train/ (Kaggle; no official test split); "
        "compressed DICOM needs pip install 'attrinet[dicom]'",
        "vindr-cxr --out stores/vindr --size 320",
    ),
)
