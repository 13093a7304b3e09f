"""`explain --dicom` writes objects that validate, say what the model said, and refer to the image explained."""

import errno
import os
import shutil
import subprocess

import highdicom as hd
import numpy as np
import pydicom
import pytest
import torch
from click.testing import CliRunner
from pydicom.sr.codedict import codes
from pydicom.uid import DigitalXRayImageStorageForPresentation, SecondaryCaptureImageStorage

from attrinet import AttrinetError, load
from attrinet.cli import cli
from attrinet.export.codes import CALLED, PRIVATE, THRESHOLD, finding_code
from attrinet.export.dicom import DicomWriter, caption
from attrinet.export.geometry import holding, on_source
from attrinet.export.overlay import with_caption
from attrinet.nets.explanation import AdditiveExplanation
from radiographs import FINDINGS, SECRETS, radiograph, save_small_model

ALL = ("sr", "seg", "sc-1", "sc-2", "sc-3")


def run(*arguments):
    return CliRunner().invoke(cli, ["explain", *map(str, arguments)])


@pytest.fixture(scope="module")
def explained(model_folder, tmp_path_factory):
    """The command's files: ending → path, for one radiograph."""
    folder = tmp_path_factory.mktemp("explained")
    source = radiograph(folder / "study.dcm")
    done = run(model_folder, source, "--dicom", "--format", "npz", "--out", folder / "out")
    assert done.exit_code == 0, done.output
    return {"source": source, "out": folder / "out", "output": done.output,
            **{name: folder / "out" / f"study-{name}.dcm" for name in ALL}}


def test_every_object_is_written_and_nothing_else(explained):
    names = {path.name for path in explained["out"].iterdir()}
    assert names == {"study.npz", *(f"study-{name}.dcm" for name in ALL)}


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="dciodvfy is not installed (Debian: dicom3tools)")
@pytest.mark.parametrize("identity", ["carry", "remove"])
@pytest.mark.parametrize("tags", [
    {},
    {"PatientName": None, "PatientID": None, "StudyDate": None, "PatientOrientation": None, "BodyPartExamined": None,
     "SOPClassUID": SecondaryCaptureImageStorage, "SpecificCharacterSet": None},
    {"SOPClassUID": DigitalXRayImageStorageForPresentation, "Modality": "DX", "BurnedInAnnotation": "NO",
     "FrameOfReferenceUID": "1.2.3.4", "LossyImageCompression": "01", "LossyImageCompressionRatio": "9.1",
     "LossyImageCompressionMethod": "ISO_10918_1", "SpecificCharacterSet": "ISO_IR 192",
     "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう"},
    {"PatientSex": "unclear", "PatientBirthDate": "ca. 1950", "StudyTime": "noon"},
])
def test_a_validator_finds_no_error(model, tmp_path, tags, identity):
    source = radiograph(tmp_path / "a.dcm", **tags)
    writer = DicomWriter(model, range(3), identity)
    for path in writer.write(source, writer.header(source), model.explain(source), tmp_path, "a"):
        said = subprocess.run(["dciodvfy", path], capture_output=True, text=True, errors="replace").stderr
        assert not [line for line in said.splitlines() if line.startswith(("Error", "Abort"))], f"{path.name}\n{said}"


def test_the_report_says_what_the_model_said(explained, model):
    report = hd.sr.srread(explained["sr"])
    out = model.explain(explained["source"])
    groups = {g.finding_type: g for g in report.content.get_planar_roi_measurement_groups()}
    assert list(groups) == [finding_code(name) for name in FINDINGS]
    for c, group in enumerate(groups.values()):
        (certainty,) = group.get_measurements(codes.DCM.CertaintyOfFinding)
        (threshold,) = group.get_measurements(THRESHOLD)
        assert certainty.value == pytest.approx(100 * float(out.probabilities[0, c]), abs=1e-6)
        assert threshold.value == pytest.approx(100 * float(out.thresholds[c]), abs=1e-6)
        assert certainty.unit == codes.UCUM.Percent
        (call,) = group.get_qualitative_evaluations(CALLED)
        assert call.value == (codes.SCT.Yes if out.called[0, c] else codes.SCT.No)


def test_known_findings_have_snomed_codes_and_others_our_own():
    assert (finding_code("Pleural_Effusion").value, finding_code("edema").scheme_designator) == ("60046008", "SCT")
    own = [finding_code(name) for name in ("Odd", "Odd one with a long name", "Odd one with a long nam", "Öd\\d")]
    assert {code.scheme_designator for code in own} == {PRIVATE} and len({code.value for code in own}) == 4
    assert all(len(code.value) <= 16 and "\\" not in code.meaning for code in own)


def test_the_segments_are_the_pixels_that_hold_half_of_the_evidence(explained, model):
    seg = hd.seg.segread(explained["seg"])
    out = model.explain(explained["source"])
    assert (seg.Rows, seg.Columns) == (60, 44)
    evidence = on_source(out.evidence[0].numpy(), 60, 44, keep_aspect=False)
    read = seg.get_pixels_by_source_instance([SECRETS["SOPInstanceUID"]])[0]
    np.testing.assert_array_equal(read.transpose(2, 0, 1), [holding(e, 0.5) for e in evidence])
    held = (evidence * read.transpose(2, 0, 1)).sum((1, 2)) / evidence.sum((1, 2))
    assert ((held >= 0.5 - 1e-6) & (held < 0.6)).all()
    descriptions = [seg.get_segment_description(n) for n in seg.segment_numbers]
    assert [d.segmented_property_type for d in descriptions] == [finding_code(name) for name in FINDINGS]


def test_the_references_lead_to_the_source_and_to_the_segments(explained):
    source, report, seg = (pydicom.dcmread(explained[name]) for name in ("source", "sr", "seg"))
    mine = source.StudyInstanceUID, source.SeriesInstanceUID, source.SOPInstanceUID, source.SOPClassUID
    evidence = hd.sr.srread(explained["sr"]).get_evidence()
    written = [pydicom.dcmread(explained[name]) for name in ALL if name != "sr"]
    assert set(evidence) == {mine} | {(d.StudyInstanceUID, d.SeriesInstanceUID, d.SOPInstanceUID, d.SOPClassUID)
                                      for d in written}
    for number, group in enumerate(hd.sr.srread(explained["sr"]).content.get_planar_roi_measurement_groups(), 1):
        frame = group.referenced_segmentation_frame
        assert frame.referenced_sop_instance_uid == seg.SOPInstanceUID
        assert frame.referenced_segment_numbers == [number] or frame.referenced_segment_numbers == number
        image = frame.source_image_for_segmentation
        assert image.referenced_sop_instance_uid == source.SOPInstanceUID and not image.referenced_frame_numbers
    for number in (1, 2, 3):
        (item,) = pydicom.dcmread(explained[f"sc-{number}"]).SourceImageSequence
        assert item.ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert item.ReferencedSOPClassUID == source.SOPClassUID
    assert len({d.SOPInstanceUID for d in [source, report, *written]}) == 6


def test_a_finding_without_evidence_has_no_segment_and_its_group_points_at_the_image(model, tmp_path):
    source = radiograph(tmp_path / "a.dcm")
    out = model.explain(source)
    out.contributions[0, 1] = -1
    writer = DicomWriter(model, (0, 1))
    objects = writer.objects(source, writer.header(source), out)
    assert objects["seg"].number_of_segments == 1
    content = hd.sr.ComprehensiveSR.from_dataset(objects["sr"]).content
    (with_segment,) = content.get_planar_roi_measurement_groups()
    (without,) = content.get_image_measurement_groups()
    assert with_segment.finding_type == finding_code(FINDINGS[0]) and without.finding_type == finding_code(FINDINGS[1])
    assert without.source_images[0].referenced_sop_instance_uid == SECRETS["SOPInstanceUID"]
    out.contributions[:] = -1
    assert "seg" not in writer.objects(source, writer.header(source), out)


def test_what_an_earlier_explanation_left_under_the_same_name_is_removed_and_nothing_else(model, tmp_path):
    source, out = radiograph(tmp_path / "a.dcm"), tmp_path / "out"
    out.mkdir()
    writer, fewer = DicomWriter(model, range(3)), DicomWriter(model, (1,))
    header, explained = writer.header(source), model.explain(source)
    for name in ("study", "study-2", "my-study"):
        writer.write(source, header, explained, out, name)
    radiograph(out / "study-sc-9.dcm")  # somebody else's
    (out / "study-sc-8.dcm").write_text("no DICOM")
    before = set(out.iterdir())
    explained.contributions[:] = -1
    written = fewer.write(source, header, explained, out, "study")
    assert {path.name for path in written} == {"study-sr.dcm", "study-sc-1.dcm"}
    assert {path.name for path in before - set(out.iterdir())} == {"study-seg.dcm", "study-sc-2.dcm", "study-sc-3.dcm"}


def test_an_image_that_would_be_removed_is_never_begun_with(model, model_folder, tmp_path):
    source = radiograph(tmp_path / "a.dcm")
    picture = tmp_path / "a-sc-3.dcm"
    DicomWriter(model, (0,)).objects(source, pydicom.dcmread(source), model.explain(source))["sc-1"].save_as(picture)
    done = run(model_folder, source, picture, "--dicom", "--findings", "Edema", "--out", tmp_path)
    assert "a-sc-3.dcm: is one of the images, and would be overwritten" in str(done.exception)
    assert {path.name for path in tmp_path.iterdir()} == {"a.dcm", "a-sc-3.dcm"}


def test_on_a_full_disk_no_object_is_half_written(model, tmp_path, monkeypatch):
    source = radiograph(tmp_path / "a.dcm")
    (tmp_path / "a-sr.dcm").write_text("of before")

    def half(self, path, *_, **__):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pydicom.Dataset, "save_as", half)
    writer = DicomWriter(model, (0,))
    with pytest.raises(AttrinetError, match=r"a-sr\.dcm: cannot be written \(No space left on device\)"):
        writer.write(source, writer.header(source), model.explain(source), tmp_path, "a")
    assert {path.name for path in tmp_path.iterdir()} == {"a.dcm", "a-sr.dcm"}
    assert (tmp_path / "a-sr.dcm").read_text() == "of before"


def test_the_overlay_shows_the_image_upright_with_a_caption_below(explained, model):
    shown = pydicom.dcmread(explained["sc-1"])
    picture = shown.pixel_array
    assert picture.shape[2] == 3 and picture.shape[0] > 512 and picture.shape[1] == round(512 * 44 / 60)
    assert picture[:100, :80].mean() < picture[200:300, 150:250].mean()  # MONOCHROME1: 4095 is black
    assert picture[512:].max() > 200  # the caption


def test_with_the_aspect_kept_the_objects_still_have_the_sources_rows_and_columns(tmp_path):
    model = load(save_small_model(tmp_path / "model", keep_aspect=True))
    source = radiograph(tmp_path / "a.dcm", shape=(30, 71))
    writer = DicomWriter(model, range(3))
    objects = writer.objects(source, writer.header(source), model.explain(source))
    assert (objects["seg"].Rows, objects["seg"].Columns) == (30, 71)
    assert objects["sc-1"].Columns == 512


def redness(picture):
    """(H, W) red minus blue, without what is below the first 512 lines."""
    return picture[:512, :, 0].astype(int) - picture[:512, :, 2]


def test_each_picture_is_of_its_own_finding_red_for_it_and_blue_against_it(model, tmp_path):
    source = radiograph(tmp_path / "a.dcm")
    out = model.explain(source)
    signs = np.array([[[1, -1], [1, -1]], [[1, 1], [-1, -1]], [[-1, 1], [1, -1]]])  # of each finding's four quarters
    out.contributions[0] = torch.from_numpy(np.kron(signs, np.ones((1, 16, 16))))
    writer = DicomWriter(model, (2, 0, 1))
    objects = writer.objects(source, writer.header(source), out)
    for number, c in enumerate(writer.findings, start=1):
        picture = objects[f"sc-{number}"].pixel_array
        red = redness(picture)
        quarters = [[red[100, 80], red[100, 290]], [red[400, 80], red[400, 290]]]
        np.testing.assert_array_equal(np.sign(quarters), signs[c])
        np.testing.assert_array_equal(picture, with_caption(picture[:512], caption(out, c)))
        assert FINDINGS[c] in objects[f"sc-{number}"].DerivationDescription


def test_a_caption_says_on_which_side_of_its_threshold_a_probability_is():
    blank = torch.zeros(1, 3, 2, 2)
    out = AdditiveExplanation(
        findings=("a", "b", "c"), probabilities=torch.tensor([[0.71, 0.5, 0.2]]), logits=torch.zeros(1, 3),
        contributions=blank, bias=torch.zeros(3), thresholds=torch.tensor([0.3, 0.5, 0.9]))
    assert [caption(out, c) for c in range(3)] == [
        "a: p = 0.71, at or above 0.30", "b: p = 0.50, at or above 0.50", "c: p = 0.20, below 0.90"]


def test_a_caption_has_the_letters_of_other_languages_and_fits_below_the_picture():
    blank = np.zeros((20, 512, 3), np.uint8)
    box = with_caption(blank, "\ue000")  # stands for no letter
    assert not any(np.array_equal(with_caption(blank, letter), box) for letter in "ÉŒœßłЖ")
    assert not with_caption(blank, "Épanchement, " * 40)[:, -6:].any()


def test_with_the_aspect_kept_segments_and_colours_lie_where_the_evidence_does(tmp_path):
    model = load(save_small_model(tmp_path / "model", keep_aspect=True))
    source = radiograph(tmp_path / "a.dcm", shape=(32, 64))  # rows 8 to 23 of the model's 32 are the image's
    writer = DicomWriter(model, (0,))
    out = model.explain(source)
    evidence = on_source(out.evidence[0, :1].numpy(), 32, 64, keep_aspect=True)[0]
    seg = writer.objects(source, writer.header(source), out)["seg"]
    np.testing.assert_array_equal(seg.pixel_array.squeeze(), holding(evidence, 0.5))
    out.contributions[:] = -1
    out.contributions[:, :, 8:12, 16:] = 1  # rows 0 to 7 of the file's 32, columns 32 to 63 of its 64
    objects = writer.objects(source, writer.header(source), out)
    expected = np.zeros((32, 64), bool)
    expected[:8, 32:] = True
    np.testing.assert_array_equal(objects["seg"].pixel_array.squeeze(), expected)
    red = redness(objects["sc-1"].pixel_array)[:256]
    assert (red[:62, 258:] > 0).all() and (red[66:] < 0).all() and (red[:, :254] < 0).all()


def test_an_image_that_is_no_dicom_is_refused_and_the_others_are_done(model_folder, explained, tmp_path):
    from PIL import Image

    Image.new("L", (40, 40), 90).save(tmp_path / "plain.png")
    done = run(model_folder, tmp_path / "plain.png", explained["source"], "--dicom", "--format", "npz", "--out",
               tmp_path / "out")
    assert isinstance(done.exception, AttrinetError) and "1 of 2 images" in str(done.exception)
    assert "plain.png: is no DICOM file" in done.output
    assert (tmp_path / "out/study-sr.dcm").exists() and not list((tmp_path / "out").glob("plain*"))


@pytest.mark.parametrize("name", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"])
def test_an_image_that_nothing_can_refer_to_is_refused_by_name(model, tmp_path, name):
    source = radiograph(tmp_path / "a.dcm", **{name: None})
    with pytest.raises(AttrinetError, match=rf"a\.dcm: its header has no {name}"):
        DicomWriter(model, (0,)).header(source)


def test_an_unknown_identity_is_refused(model_folder, explained):
    done = run(model_folder, explained["source"], "--dicom", "--identity", "hide")
    assert isinstance(done.exception, AttrinetError) and "carry, remove" in str(done.exception)
