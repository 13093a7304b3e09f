"""What DICOM objects call the findings: SNOMED CT where it has the term, else a code of our own."""

from __future__ import annotations

import hashlib
import re

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import CodedConcept

PRIVATE = "99ATTRINET"  # DICOM PS3.16, 8: private schemes begin with 99
PRIVATE_SCHEME = CodingSchemeIdentificationItem(PRIVATE, name="attrinet: findings and measures without a standard code")

# The names of CheXpert, ChestX-ray14 and VinDr-CXR
SNOMED = {
    "atelectasis": ("46621007", "Atelectasis"),
    "cardiomegaly": ("8186001", "Cardiomegaly"),
    "consolidation": ("95436008", "Lung consolidation"),
    "edema": ("19242006", "Pulmonary edema"),
    "effusion": ("60046008", "Pleural effusion"),
    "pleural effusion": ("60046008", "Pleural effusion"),
    "emphysema": ("87433001", "Pulmonary emphysema"),
    "fibrosis": ("51615001", "Pulmonary fibrosis"),
    "pulmonary fibrosis": ("51615001", "Pulmonary fibrosis"),
    "infiltration": ("409609008", "Radiologic infiltrate of lung"),
    "mass": ("309529002", "Lung mass"),
    "nodule": ("786838002", "Nodule of lung"),
    "pneumonia": ("233604007", "Pneumonia"),
    "pneumothorax": ("36118008", "Pneumothorax"),
}

THRESHOLD = CodedConcept("threshold", PRIVATE, "Certainty from which the finding is called")
CALLED = CodedConcept("called", PRIVATE, "Certainty is at or above the threshold")


def finding_code(name: str) -> CodedConcept:
    """The concept of a finding, by its name in any case, with blanks or underscores.

    A name of our own becomes the code itself where it is short enough for one, else a hash of it stands there.
    """
    known = SNOMED.get(re.sub(r"[\s_]+", " ", name).strip().lower())
    if known:
        return CodedConcept(known[0], "SCT", known[1])
    fits = len(name) <= 16 and name.isascii() and "\\" not in name
    value = name if fits else hashlib.blake2b(name.encode(), digest_size=8).hexdigest()
    return CodedConcept(value, PRIVATE, label(name))


def label(text: str, length: int = 64) -> str:
    """A text as DICOM's short values allow it: no backslash, no control characters, at most `length` characters."""
    return re.sub(r"[\\\x00-\x1f]", "/", text)[:length]
