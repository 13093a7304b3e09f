"""An explanation as DICOM objects beside the image it explains: structured report, segmentation, pictures.

A parametric map would need a frame of reference, which a projection radiograph has not; a segmentation refers to the
image pixel by pixel without one (PS3.3 A.51, A.75).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
from highdicom import sr
from pydicom import Dataset
from pydicom.sr.codedict import codes
from torch import nn

from attrinet.errors import AttrinetError
from attrinet.export.codes import CALLED, PRIVATE_SCHEME, THRESHOLD, finding_code, label
from attrinet.export.geometry import holding, on_source
from attrinet.export.overlay import background, overlay
from attrinet.export.source import IDENTITIES, Pseudonyms, discreet, read_header
from attrinet.files import write_atomically
from attrinet.nets.explanation import AdditiveExplanation
from attrinet.nets.weights import weights_hash
from attrinet.report.figures import limit

SHARE = 0.5  # of the evidence for a finding, held by the pixels of its segment
SERIES = {"sr": (9801, "attrinet findings"), "seg": (9802, "attrinet evidence"), "sc": (9803, "attrinet overlays")}
PURPOSE = codes.DCM.SourceImageForImageProcessingOperation


@dataclass(frozen=True)
class DicomWriter:
    """Writes the explanations of one model.

    model: loaded by attrinet.load. findings: indices of those to write. identity: "carry" gives the objects the source
    image's patient and study, "remove" other ones, the same for images of one study that this writer writes.
    """

    model: nn.Module
    findings: Sequence[int]
    identity: str = "carry"

    def __post_init__(self):
        if self.identity not in IDENTITIES:
            raise AttrinetError(f"--identity {self.identity}: choose one of {', '.join(IDENTITIES)}")

    @cached_property
    def pseudonyms(self) -> Pseudonyms | None:
        return Pseudonyms() if self.identity == "remove" else None

    @cached_property
    def serial(self) -> str:
        return weights_hash(self.model)

    def header(self, path: Path) -> Dataset:
        """What the objects inherit; see source.read_header, also for what is raised."""
        return read_header(path, self.pseudonyms)

    def write(self, path: Path, header: Dataset, out: AdditiveExplanation, folder: Path, name: str) -> list:
        """Write NAME-sr.dcm, NAME-seg.dcm (if there is evidence) and NAME-sc-1.dcm … (one a finding) into a folder,
        and remove what an earlier explanation left there under such names.

        path: the image file; header: of it; out: its explanation, a batch of one. Returns the paths. Raises
        AttrinetError naming the image or the file, never with a value of the header.
        """
        with discreet(path):
            objects = self.objects(path, header, out)
        paths = []
        for ending, thing in objects.items():
            target = folder / f"{name}-{ending}.dcm"
            with discreet(path):
                write_atomically(target, thing.save_as)
            paths.append(target)
        for old in folder.iterdir():
            if old not in paths and self.may_remove(old, [name]) and made_here(old):
                old.unlink(missing_ok=True)
        return paths

    def may_remove(self, path: Path, names: Collection[str]) -> bool:
        """Whether a file is called as the segmentation, or as any picture, of one of the names."""
        called = re.fullmatch(r"(.+)-(?:seg|sc-[0-9]+)\.dcm", path.name)
        return called is not None and called[1] in names

    def objects(self, path: Path, header: Dataset, out: AdditiveExplanation) -> dict[str, Dataset]:
        """ending of the file name → object"""
        keep_aspect = self.model.reader.keywords["keep_aspect"]
        contributions = out.contributions[0, list(self.findings)].cpu().numpy()
        evidence = on_source(contributions.clip(min=0), header.Rows, header.Columns, keep_aspect)
        masks = np.stack([holding(e, SHARE) for e in evidence])
        segments = {c: k for k, c in enumerate((c for c, mask in zip(self.findings, masks, strict=True) if mask.any()),
                                               start=1)}
        things: dict[str, Dataset] = {}
        if segments:
            things["seg"] = self.segmentation(header, masks[masks.any((1, 2))], out, segments)
        image = background(path, self.model.reader.keywords["intensity"])
        half, uid = limit(contributions), hd.UID()
        for k, c in enumerate(self.findings, start=1):
            picture = overlay(image, contributions[k - 1], half, caption(out, c), keep_aspect)
            things[f"sc-{k}"] = self.capture(header, picture, out.findings[c], uid, k)
        return {"sr": self.report(header, out, segments, list(things.values()), things.get("seg")), **things}

    # ---- the three kinds of object

    def segmentation(self, header: Dataset, masks: np.ndarray, out, segments: dict[int, int]) -> hd.seg.Segmentation:
        """masks: (K, H, W) bool. segments: finding → number of its segment, in the order of the masks."""
        algorithm = hd.AlgorithmIdentificationSequence(
            self.model.name, codes.DCM.ArtificialIntelligence, version("attrinet"), source="attrinet",
            parameters={"weights": self.serial, "share": str(SHARE)},
        )
        descriptions = [
            hd.seg.SegmentDescription(
                number, label(f"Evidence for {out.findings[c]}"), codes.SCT.MorphologicallyAbnormalStructure,
                finding_code(out.findings[c]), "AUTOMATIC", algorithm,
                tracking_uid=hd.UID(), tracking_id=label(out.findings[c]),
            ) for c, number in segments.items()
        ]
        seg = hd.seg.Segmentation(
            [header], masks.transpose(1, 2, 0)[None], "BINARY", descriptions, **self.equipment("seg"),
            content_label="EVIDENCE", omit_empty_frames=False,
            content_description=f"Fewest pixels that hold {SHARE:.0%} of the evidence for a finding",
        )
        orient(seg, header)
        return self.marked(seg)

    def capture(self, header: Dataset, picture: np.ndarray, finding: str, series: str, number: int) -> hd.sc.SCImage:
        """picture: (h, w, 3) uint8"""
        capture = hd.sc.SCImage.from_ref_dataset(
            header, picture, "RGB", 8, "PATIENT", patient_orientation=("L", "F"),
            **self.equipment("sc", series, number), transfer_syntax_uid="1.2.840.10008.1.2.1",
        )
        capture.copy_patient_and_study_information(header)
        orient(capture, header)  # instead of what the constructor insists on
        if "BodyPartExamined" in header:
            capture.BodyPartExamined = header.BodyPartExamined
        else:
            capture.Laterality = header.get("Laterality")
        for name in ("BurnedInAnnotation", "LossyImageCompression", "LossyImageCompressionRatio",
                     "LossyImageCompressionMethod"):
            if name in header:
                setattr(capture, name, header[name].value)
        capture.DerivationDescription = label(f"Contributions to {finding}: red for, blue against", 1024)
        capture.SourceImageSequence = [reference(header)]
        return self.marked(capture)

    def report(self, header: Dataset, out, segments: dict[int, int], things: list, seg) -> sr.ComprehensiveSR:
        """TID 1500 with one measurement group a finding: certainty, threshold, call, and the segment."""
        observer = sr.ObserverContext(codes.DCM.Device, sr.DeviceObserverIdentifyingAttributes(
            uid=f"2.25.{int(self.serial, 16)}", name="attrinet", manufacturer_name="attrinet",
            model_name=self.model.name, serial_number=self.serial,
        ))
        content = sr.MeasurementReport(
            sr.ObservationContext(observer_device_context=observer), codes.SCT.PlainRadiography,
            imaging_measurements=[self.group(header, out, c, seg, segments.get(c)) for c in self.findings],
        )
        report = sr.ComprehensiveSR(
            [header, *things], content, **self.equipment("sr"), is_complete=True, is_final=False,
            coding_schemes=[PRIVATE_SCHEME],
        )
        return self.marked(report)

    def group(self, header: Dataset, out, c: int, seg, segment: int | None):
        """Measurement group of finding c; it points at its segment, or where there is no evidence at the image."""
        probability, threshold = float(out.probabilities[0, c]), float(out.thresholds[c])
        known = {
            "tracking_identifier": sr.TrackingIdentifier(uid=hd.UID(), identifier=label(out.findings[c])),
            "finding_type": finding_code(out.findings[c]),
            "algorithm_id": sr.AlgorithmIdentification(self.model.name, version("attrinet"),
                                                       parameters=[f"weights {self.serial}"]),
            "measurements": [
                sr.Measurement(name, 100 * value, codes.UCUM.Percent)
                for name, value in ((codes.DCM.CertaintyOfFinding, probability), (THRESHOLD, threshold))
            ],
            "qualitative_evaluations": [sr.QualitativeEvaluation(
                CALLED, codes.SCT.Yes if bool(out.called[0, c]) else codes.SCT.No
            )],
        }
        if segment is None:
            source = sr.SourceImageForMeasurementGroup.from_source_image(header)
            return sr.MeasurementsAndQualitativeEvaluations(source_images=[source], **known)
        # Built by hand: from_segmentation gives the single-frame source the segment's frame number
        frame = sr.ReferencedSegmentationFrame(
            seg.SOPClassUID, seg.SOPInstanceUID, None, segment,
            sr.SourceImageForSegmentation(header.SOPClassUID, header.SOPInstanceUID),
        )
        return sr.PlanarROIMeasurementsAndQualitativeEvaluations(referenced_segment=frame, **known)

    # ---- what they share

    def equipment(self, kind: str, series: str | None = None, instance: int = 1) -> dict:
        """The series of an object and who made it."""
        number, description = SERIES[kind]
        return {
            "series_instance_uid": series or hd.UID(), "series_number": number, "series_description": description,
            "sop_instance_uid": hd.UID(), "instance_number": instance, "manufacturer": "attrinet",
            "manufacturer_model_name": self.model.name, "device_serial_number": self.serial,
            "software_versions": version("attrinet"),
            **({} if kind == "sc" else {"transfer_syntax_uid": "1.2.840.10008.1.2.1"}),
        }

    def marked(self, thing: Dataset) -> Dataset:
        """UTF-8, and a word on removed identity."""
        thing.SpecificCharacterSet = "ISO_IR 192"
        if self.pseudonyms:
            thing.PatientIdentityRemoved = "YES"
            thing.DeidentificationMethod = "attrinet: few attributes kept; UIDs and patient ID replaced"
        return thing


def made_here(path: Path) -> bool:
    try:
        with discreet(path):
            return pydicom.dcmread(path, stop_before_pixels=True).get("Manufacturer") == "attrinet"
    except (OSError, AttrinetError):
        return False


def orient(thing: Dataset, header: Dataset) -> None:
    """Rows and columns run as in the source; empty where it does not say how."""
    thing.PatientOrientation = header.get("PatientOrientation")


def reference(header: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    item.PurposeOfReferenceCodeSequence = [sr.CodedConcept.from_code(PURPOSE)]
    return item


def caption(out: AdditiveExplanation, c: int) -> str:
    """Finding, probability and threshold: what stands under a picture."""
    sign = "at or above" if bool(out.called[0, c]) else "below"
    return f"{out.findings[c]}: p = {float(out.probabilities[0, c]):.2f}, {sign} {float(out.thresholds[c]):.2f}"
