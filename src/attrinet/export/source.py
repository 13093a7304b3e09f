"""The header of the image that was explained: what the written objects say of patient and study, or do not say."""

from __future__ import annotations

import logging
import os
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import pydicom
from highdicom import UID
from pydicom import Dataset
from pydicom.valuerep import DA, TM

from attrinet.data.images import is_dicom
from attrinet.errors import AttrinetError

IDENTITIES = ("carry", "remove")
NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Rows", "Columns")
NAMED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")  # UIDs that stand for this patient's images
BLANK = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
         "StudyTime", "ReferringPhysicianName")  # every object must have these, empty where unknown
HARMLESS = ("SOPClassUID", "Rows", "Columns", "Modality", "BodyPartExamined", "PatientOrientation", "Laterality",
            "ImageLaterality", "ViewPosition", "PhotometricInterpretation", "BurnedInAnnotation",
            "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")


@dataclass(frozen=True)
class Pseudonyms:
    """Other names for patients and UIDs: the same for the same one during one call, and not to be traced back after.

    A keyed hash whose key is drawn anew and kept nowhere.
    """

    key: bytes = field(default_factory=lambda: os.urandom(32), repr=False)

    def _hash(self, text: str) -> bytes:
        return blake2b(text.encode(), key=self.key, digest_size=16).digest()

    def uid(self, original: str) -> UID:
        return UID(f"2.25.{uuid.UUID(bytes=self._hash(original), version=4).int}")

    def patient(self, original: str) -> str:
        return "anon-" + self._hash("patient " + original).hex()[:16]


def read_header(path: Path, pseudonyms: Pseudonyms | None = None) -> Dataset:
    """The header that objects made from this image inherit: text in UTF-8, no pixels.

    pseudonyms: None carries patient and study as they are, so that an archive files the objects with the image. Given,
    the header keeps only what describes the picture, under other UIDs and another patient's ID.

    Raises AttrinetError naming the file if it is no DICOM, lacks a UID that references need, or is to lose its
    identity but says that its pixels show it. No message repeats a value of the header.
    """
    if not is_dicom(path):
        raise AttrinetError(f"{path}: is no DICOM file, and DICOM objects must refer to one; "
                            "explain it without --dicom")
    with discreet(path):
        header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        header.decode()
        header.SpecificCharacterSet = "ISO_IR 192"
    missing = [name for name in NEEDED if not header.get(name)]
    if missing:
        raise AttrinetError(f"{path}: its header has no {missing[0]}, so no DICOM object can refer to it")
    if pseudonyms:
        if header.get("BurnedInAnnotation") == "YES":
            raise AttrinetError(f"{path}: its pixels show who the patient is (BurnedInAnnotation is YES), which "
                                "--identity remove cannot take away; mask them first, or use --identity carry")
        header = without_identity(header, pseudonyms)
    with discreet(path):
        return valid(header)


def without_identity(header: Dataset, pseudonyms: Pseudonyms) -> Dataset:
    """A new header of what does no harm: nothing is inherited that was not named here."""
    out = Dataset()
    out.SpecificCharacterSet = header.SpecificCharacterSet
    for name in HARMLESS:
        if name in header:
            setattr(out, name, header[name].value)
    for name in NAMED:
        setattr(out, name, pseudonyms.uid(header[name].value))
    out.PatientID = pseudonyms.patient(str(header.get("PatientID", "")) or header.StudyInstanceUID)
    return out


def valid(header: Dataset) -> Dataset:
    """Blank what every object must have: where it is missing, or has a value the standard does not know."""
    for name in BLANK:
        if name not in header or header[name].value is None:
            setattr(header, name, "")
    for name, kind in (("PatientBirthDate", DA), ("StudyDate", DA), ("StudyTime", TM)):
        try:
            kind(str(header[name].value))
        except ValueError:
            setattr(header, name, "")
    if header.PatientSex not in ("M", "F", "O"):
        header.PatientSex = ""
    if "ImagePositionPatient" not in header and "FrameOfReferenceUID" in header:
        del header.FrameOfReferenceUID  # a frame that nothing is placed in; a projection has none
    return header


@contextmanager
def discreet(path: Path) -> Iterator[None]:
    """Keep the libraries' warnings, log lines and error messages to themselves: they quote the header."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (AttrinetError, OSError):
        raise
    except Exception as error:  # pydicom and highdicom raise whatever an odd header leads them to
        raise AttrinetError(f"{path}: no DICOM object can be made from its header ({type(error).__name__}); "
                            "check it with a DICOM validator") from None
    finally:
        logging.disable(level)
