"""Whose image it was is carried or removed as asked, and never shown by anything that is not a DICOM object."""

import logging

import numpy as np
import pydicom
import pytest
from click.testing import CliRunner
from PIL import Image

from attrinet import AttrinetError
from attrinet.cli import cli
from attrinet.export.dicom import DicomWriter
from radiographs import SECRETS, radiograph


def run(*arguments):
    return CliRunner().invoke(cli, ["explain", *map(str, arguments)])


def traces(content: bytes) -> list[str]:
    """Names of the header's values that can be found in some bytes, whole or in parts, in any encoding in use."""
    found = []
    for name, value in {**SECRETS, "private": "private Müller", "PatientAge": "067Y"}.items():
        parts = [p for p in value.replace("^", " ").split(" ") if len(p) > 4] or [value]
        if name.endswith("UID"):
            parts = [value]
        if any(part.encode(code) in content for part in parts for code in ("latin-1", "utf-8")):
            found.append(name)
    return found


def test_the_search_for_traces_finds_every_one(tmp_path):
    assert set(traces(radiograph(tmp_path / "a.dcm").read_bytes())) == {*SECRETS, "private", "PatientAge"}


@pytest.mark.parametrize("identity", ["carry", "remove"])
def test_pictures_arrays_names_and_messages_never_show_it(model_folder, tmp_path, identity, caplog, recwarn):
    images = [radiograph(tmp_path / "a.dcm"), radiograph(tmp_path / "b.dcm", PatientName="a=b=c=d=Geheim^Müller"),
              radiograph(tmp_path / "c.dcm", StudyInstanceUID=None),
              radiograph(tmp_path / "d.dcm", PatientSex="Geheim", PatientBirthDate="Overweg"),
              radiograph(tmp_path / "e.dcm", SOPClassUID="1.2.840.99999.1.20190807"),
              radiograph(tmp_path / "f.dcm", StudyInstanceUID="1.2.840.99999.1.20190807.Geheim")]
    recwarn.clear()
    caplog.clear()
    for library in ("highdicom", "pydicom", "attrinet"):
        caplog.set_level(logging.DEBUG, logger=library)
    with caplog.at_level(logging.WARNING):
        done = run(model_folder, *images, "--dicom", "--format", "npz", "--identity", identity, "--out",
                   tmp_path / "out")
        if identity == "carry":
            run(model_folder, images[0], "--dicom", "--findings", "Edema", "--out", tmp_path / "out")
    assert isinstance(done.exception, AttrinetError)  # c is refused
    said = done.output + str(done.exception) + caplog.text + "".join(str(w.message) for w in recwarn)
    assert not traces(said.encode())
    assert (tmp_path / "out/a-sr.dcm").exists() and (tmp_path / "out/d-sr.dcm").exists()
    for path in (tmp_path / "out").iterdir():
        assert not traces(path.name.encode())
        if path.suffix in (".png", ".npz"):
            content = path.read_bytes()
            if path.suffix == ".npz":
                content = b"".join(np.load(path)[name].tobytes() for name in np.load(path).files)
            assert not traces(content), path


@pytest.mark.parametrize("identity", ["carry", "remove"])
def test_a_folder_named_after_the_patient_is_not_shown(model_folder, tmp_path, identity):
    folder, out = tmp_path / "Geheim", tmp_path / "out"
    folder.mkdir()
    image = radiograph(folder / "a.dcm")
    for _ in range(2):  # and is known again
        run(model_folder, image, "--dicom", "--identity", identity, "--format", "png,npz", "--out", out)
    assert [path.name for path in out.glob("*.png")] == ["a.png"]
    assert str(np.load(out / "a.npz")["image"]) == Image.open(out / "a.png").info["image"]
    assert not [path for path in out.glob("a.*") if b"Geheim" in path.read_bytes()]


def test_carried_objects_belong_to_the_same_patient_and_study(model, tmp_path):
    source = pydicom.dcmread(radiograph(tmp_path / "a.dcm"))
    writer = DicomWriter(model, range(3))
    path = tmp_path / "a.dcm"
    for written in writer.write(path, writer.header(path), model.explain(path), tmp_path, "a"):
        thing = pydicom.dcmread(written)
        for name in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientComments",
                     "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber",
                     "ReferringPhysicianName", "StudyDescription"):
            assert str(thing[name].value) == str(source[name].value), f"{written.name}: {name}"
        assert thing.SeriesInstanceUID != source.SeriesInstanceUID


def test_removed_identity_leaves_no_trace_in_any_object(model, tmp_path):
    path = radiograph(tmp_path / "a.dcm")
    writer = DicomWriter(model, range(3), "remove")
    for written in writer.write(path, writer.header(path), model.explain(path), tmp_path, "a"):
        assert not traces(written.read_bytes()), written.name
        thing = pydicom.dcmread(written)
        assert thing.PatientIdentityRemoved == "YES" and thing.PatientID.startswith("anon-")
        assert not thing.PatientName and not thing.PatientBirthDate and not thing.StudyDate


def test_images_of_one_study_stay_together_and_another_command_gives_other_names(model, tmp_path):
    first = radiograph(tmp_path / "a.dcm")
    second = radiograph(tmp_path / "b.dcm", SOPInstanceUID=SECRETS["SOPInstanceUID"] + ".7")
    other = radiograph(tmp_path / "c.dcm", StudyInstanceUID="1.2.3", PatientID="somebody else")
    writer = DicomWriter(model, (0,), "remove")
    a, b, c = (writer.header(path) for path in (first, second, other))
    assert a.StudyInstanceUID == b.StudyInstanceUID and a.PatientID == b.PatientID
    assert a.SOPInstanceUID != b.SOPInstanceUID
    assert c.StudyInstanceUID != a.StudyInstanceUID and c.PatientID != a.PatientID
    again = DicomWriter(model, (0,), "remove").header(first)
    assert again.StudyInstanceUID != a.StudyInstanceUID and again.PatientID != a.PatientID
    objects = writer.objects(first, a, model.explain(first))
    assert objects["sr"].StudyInstanceUID == objects["sc-1"].StudyInstanceUID == a.StudyInstanceUID
    assert objects["sc-1"].SourceImageSequence[0].ReferencedSOPInstanceUID == a.SOPInstanceUID


def test_text_in_the_pixels_cannot_be_removed_and_is_refused(model, tmp_path):
    path = radiograph(tmp_path / "a.dcm", BurnedInAnnotation="YES")
    with pytest.raises(AttrinetError, match=r"a\.dcm.*BurnedInAnnotation is YES"):
        DicomWriter(model, (0,), "remove").header(path)
    carried = DicomWriter(model, (0,))
    assert carried.objects(path, carried.header(path), model.explain(path))["sc-1"].BurnedInAnnotation == "YES"
