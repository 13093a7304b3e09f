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
        "chestxray14", "ChestX-ray14 (Wang et al., CVPR 2017): 112,120 frontal radiographs, 14 text-mined findings, "
        "984 boxes on 880 of them; the paper's ChestX-ray8",
        "NIH Clinical Center, https://nihcc.app.box.com/v/ChestXray-NIHCC",
        "no restriction on use; name the NIH Clinical Center, link to the source and cite Wang et al.",
        "images_001/images/ … images_012/images/ or images/, Data_Entry_2017_v2020.csv or Data_Entry_2017.csv, "
        "BBox_List_2017.csv, train_val_list.txt, test_list.txt",
        "ChestX-ray14 --out stores/chestxray14 --size 320",
    ),
    Entry(
        "chexpert", "CheXpert (Irvin et al., AAAI 2019) with 14 findings read from reports; with CheXlocalize "
        "(Saporta et al., 2022), its test set and the segmentations of validation and test images",
        "Stanford AIMI, https://stanfordmlgroup.github.io/competitions/chexpert and, for CheXlocalize, "
        "https://stanfordaimi.azurewebsites.net/datasets/23c56a0d-15de-405b-87c8-99c30138950c",
        "Stanford's research use agreement, for each of the two: not for commercial use, not to be passed on",
        "train.csv, valid.csv, train/ and valid/, full size or small; for --chexlocalize: CheXlocalize/ and CheXpert/",
        "CheXpert-v1.0 --chexlocalize CheXlocalize --out stores/chexpert --size 320",
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
