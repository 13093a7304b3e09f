"""A small model with random weights, and a radiograph as a hospital's archive gives it."""

import numpy as np
import pydicom
import torch
from pydicom import uid
from pydicom.dataset import FileDataset, FileMetaDataset

from attrinet import AttriNet, save_model

FINDINGS = ("Cardiomegaly", "Edema", "Spiculated something of the third kind")
SIZE = 32


def save_small_model(folder, keep_aspect=False, findings=FINDINGS):
    torch.manual_seed(0)
    model = AttriNet(findings, SIZE, width=4)
    save_model(model, folder, thresholds=dict(zip(findings, (0.2, 0.5, 0.9), strict=False)),
               preprocessing={"intensity": "paper", "keep_aspect": keep_aspect})
    return folder


SECRETS = {
    "PatientName": "Geheim^Müller^Ä", "PatientID": "PID-4711-X", "PatientBirthDate": "19511213",
    "OtherPatientIDs": "OTHER-99", "PatientComments": "lives next to the harbour", "AccessionNumber": "ACC-31415",
    "StudyID": "STID-27", "StudyDate": "20190807", "StudyTime": "060504", "StudyDescription": "request by ward Z",
    "ReferringPhysicianName": "Overweg^Hannah", "InstitutionName": "Clinic by the Sea", "StationName": "ROOM-7",
    "StudyInstanceUID": "1.2.840.99999.1.20190807", "SeriesInstanceUID": "1.2.840.99999.1.20190807.4",
    "SOPInstanceUID": "1.2.840.99999.1.20190807.4.2",
}


def radiograph(path, shape=(60, 44), **tags):
    """A computed radiograph, MONOCHROME1 and 12 bit, in Latin-1. A tag of None is left out."""
    rows, columns = shape
    pixels = (np.add.outer(np.hanning(rows), np.hanning(columns)) * 2047).astype(np.uint16)
    pixels[: rows // 4, : columns // 4] = 4095  # not symmetric: a flipped or transposed map would show
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    known = SECRETS | {
        "SpecificCharacterSet": "ISO_IR 100", "SOPClassUID": uid.ComputedRadiographyImageStorage, "PatientSex": "F",
        "PatientAge": "067Y", "Modality": "CR", "SeriesNumber": 1, "InstanceNumber": 1, "BodyPartExamined": "CHEST",
        "ViewPosition": "PA", "Manufacturer": "Acme", "PatientOrientation": ["L", "F"],
        "ImageType": ["ORIGINAL", "PRIMARY"], "Rows": rows, "Columns": columns, "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME1", "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11,
        "PixelRepresentation": 0, "PixelData": pixels.tobytes(),
    } | tags
    for name, value in known.items():
        if value is not None:
            setattr(data, name, value)
    meta.MediaStorageSOPClassUID = known["SOPClassUID"] or uid.ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = known["SOPInstanceUID"] or uid.generate_uid()
    private = data.private_block(0x0099, "ACME", create=True)
    private.add_new(1, "LO", "private Müller")
    with pydicom.config.disable_value_validation():
        data.save_as(path, enforce_file_format=True)
    return path
