"""VinDr-CXR is read in both its editions: radiologists' labels and boxes, splits, and what is left out."""

import csv
import gzip
import json
import shutil
from collections import defaultdict

import numpy as np
import pandas as pd
import pydicom
import pytest
from click.testing import CliRunner
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from scipy.ndimage import binary_dilation, binary_erosion

from attrinet.cli import cli
from attrinet.data import vindr
from attrinet.data.manifest import check
from attrinet.data.prepare import prepare
from attrinet.data.vindr import FINDINGS, vindr_source
from attrinet.data.vindr_tables import LABELS
from attrinet.errors import AttrinetError

AORTA, HEART, FIBROSIS, THICK, EFFUSION = FINDINGS
CORNERS = ["x_min", "y_min", "x_max", "y_max"]


def name(letter):
    return (letter + "0123456789abcdef" * 2)[:32]


SIZES = {"a": (400, 500), "b": (320, 240), "c": (300, 300), "d": (200, 260), "e": (240, 200), "f": (200, 200),
         "9": (200, 200), "8": (200, 200), "7": (360, 300), "6": (200, 240)}  # image → width, height
INVERTED = set("ac7")  # MONOCHROME1
MISSING, BROKEN, TEST = "9", "8", "76"
READERS = {"d": ("R1", "R2"), "e": ("R4", "R5", "R6", "R7", "R8")}  # others were read by three
BOXES = [  # image, reader, finding, box
    ("a", "R1", HEART, (100, 150, 300, 350)), ("a", "R2", HEART, (110, 160, 320, 360)),
    ("b", "R1", EFFUSION, (20, 150, 90, 230)),
    ("c", "R1", AORTA, (200, 40, 310, 140)), ("c", "R2", AORTA, (210, 50, 300, 140)),
    ("c", "R3", AORTA, (190, 40, 290, 130)), ("c", "R3", "Nodule/Mass", (10, 10, 20, 20)),
    ("c", "R3", THICK, (20, 20, 60, 40)), ("c", "R3", THICK, (60, 30, 90, 40)),
    ("d", "R1", HEART, (60, 100, 140, 180)),
    ("e", "R4", FIBROSIS, (10, 10, 50, 60)), ("e", "R5", FIBROSIS, (20, 10, 60, 60)),
    ("e", "R8", FIBROSIS, (10, 20, 50, 70)),
    ("9", "R1", HEART, (60, 60, 140, 140)), ("9", "R2", HEART, (60, 60, 140, 140)),
    ("8", "R1", HEART, (60, 60, 140, 140)), ("8", "R2", HEART, (60, 60, 140, 140)),
]
TEST_BOXES = [("7", None, HEART, (90, 120, 270, 240)), ("7", None, EFFUSION, (30, 200, 100, 290))]
HELD = {  # what holds under each policy, and what any radiologist says
    "majority": {("a", HEART), ("c", AORTA), ("e", FIBROSIS)},
    "any": {("a", HEART), ("b", EFFUSION), ("c", AORTA), ("c", THICK), ("d", HEART), ("e", FIBROSIS)},
    "all": {("c", AORTA)},
}
TEST_HELD = {("7", HEART), ("7", EFFUSION)}


def readers(image):
    return READERS.get(image, ("R1", "R2", "R3")) if image not in TEST else (None,)


def dicom(path, image):
    """12 bit in 16: dark noise, and bright where any radiologist drew."""
    width, height = SIZES[image]
    pixels = np.random.default_rng(0).integers(0, 900, (height, width), dtype=np.uint16)
    for box in BOXES + TEST_BOXES:
        if box[0] == image:
            x0, y0, x1, y1 = box[3]
            pixels[y0:y1, x0:x1] = 3800
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.Rows, data.Columns, data.SamplesPerPixel, data.PixelRepresentation = height, width, 1, 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
    data.PhotometricInterpretation = "MONOCHROME1" if image in INVERTED else "MONOCHROME2"
    data.PixelData = (4095 - pixels if image in INVERTED else pixels).tobytes()
    data.save_as(path, enforce_file_format=True)


def write_images(root):
    for image in SIZES:
        folder = root / ("test" if image in TEST else "train")
        folder.mkdir(parents=True, exist_ok=True)
        if image != MISSING:
            dicom(folder / f"{name(image)}.dicom", image)
    broken = root / "train" / f"{name(BROKEN)}.dicom"
    broken.write_bytes(broken.read_bytes()[:700])


def box_rows(images):
    """Rows of an annotation table, one "No finding" for a radiologist who drew nothing."""
    drawn = [box for box in BOXES + TEST_BOXES if box[0] in images]
    said = {(image, reader) for image, reader, *_ in drawn}
    silent = [(i, r, "No finding", ("",) * 4) for i in images for r in readers(i) if (i, r) not in said]
    return pd.DataFrame([{"image_id": name(i), "rad_id": r, "class_name": f, **dict(zip(CORNERS, box, strict=True))}
                         for i, r, f, box in drawn + silent])


def label_rows(images):
    drawn = {box[:3] for box in BOXES + TEST_BOXES}
    rows = [{"image_id": name(i), "rad_id": r, **{f: int((i, r, f) in drawn) for f in LABELS}}
            for i in images for r in readers(i)]
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    write_images(root)
    return root


@pytest.fixture
def physionet(tmp_path, pictures):
    """vindr-cxr/1.0.0/ as it is downloaded."""
    root = tmp_path / "vindr-cxr" / "1.0.0"
    shutil.copytree(pictures, root)
    notes = root / "annotations"
    notes.mkdir()
    train = [image for image in SIZES if image not in TEST]
    label_rows(train).to_csv(notes / "image_labels_train.csv", index=False)
    box_rows(train).to_csv(notes / "annotations_train.csv", index=False)
    test = label_rows(TEST).drop(columns="rad_id").rename(columns={"Other diseases": "Other disease"})
    test.to_csv(notes / "image_labels_test.csv", index=False)
    box_rows(TEST).drop(columns="rad_id").to_csv(notes / "annotations_test.csv", index=False)
    return root


@pytest.fixture
def kaggle(tmp_path, pictures):
    """The files of the challenge: the same training images, and test images that nobody labelled."""
    root = tmp_path / "vinbigdata-chest-xray-abnormalities-detection"
    shutil.copytree(pictures, root)
    rows = box_rows([image for image in SIZES if image not in TEST])
    rows.insert(2, "class_id", [14 if n == "No finding" else LABELS.index(n) for n in rows["class_name"]])
    rows.to_csv(root / "train.csv", index=False)
    return root


edition = pytest.mark.parametrize("edition", ["physionet", "kaggle"])


def letters(source):
    return [id[0] for id in source.manifest["id"]]


def positives(source):
    rows = source.manifest.set_index("id")
    return {(id[0], finding) for finding in source.findings for id in rows.index[rows[finding] == 1]}


def edit(path, **columns):
    """Rewrite a table with these columns."""
    frame = pd.read_csv(path)
    frame.assign(**columns).to_csv(path, index=False)


@edition
@pytest.mark.parametrize("policy", ["majority", "any", "all"])
def test_radiologists_agree_as_the_policy_says_and_the_test_set_is_a_consensus(request, edition, policy):
    source = vindr_source(request.getfixturevalue(edition), policy=policy)
    check(source)
    want = HELD[policy] | ({(BROKEN, HEART)} if policy != "all" else set())
    assert positives(source) == want | (TEST_HELD if edition == "physionet" else set())
    assert source.manifest[list(FINDINGS)].notna().all(axis=None)
    assert source.options["policy"] == policy
    assert source.options["readers"]["train"] == {"2": 1, "3": 6, "5": 1}
    json.dumps(source.options)


@edition
@pytest.mark.parametrize("policy", ["majority", "any", "all"])
def test_boxes_are_there_for_every_label_that_holds_and_for_no_other(request, edition, policy):
    source = vindr_source(request.getfixturevalue(edition), policy=policy)
    kept = positives(source)
    boxes = [box for box in BOXES + TEST_BOXES if (box[0], box[2]) in kept]
    want = sorted((i, f, x0, y0, x1 - x0, y1 - y0, *SIZES[i]) for i, _, f, (x0, y0, x1, y1) in boxes)
    columns = ["id", "finding", "x", "y", "w", "h", "source_width", "source_height"]
    found = sorted((id[0], *rest) for id, *rest in source.annotations[columns].to_numpy().tolist())
    assert found == [tuple(row) for row in want]
    account = source.options["annotations"]
    assert account["boxes"] == len(boxes) and account["left out"]["finding not used"] == 1
    total = len(BOXES) + (len(TEST_BOXES) if edition == "physionet" else 0)
    assert account["boxes"] + sum(account["left out"].values()) == total


@edition
def test_what_is_left_out_is_counted_by_reason(request, edition):
    root = request.getfixturevalue(edition)
    (root / "train" / f".{name('a')}.dicom").write_bytes(b"")  # what file managers leave behind
    (root / "train" / "index.html").write_text("")
    source = vindr_source(root)
    unlabelled = 0 if edition == "physionet" else 2
    assert {k: v for k, v in source.excluded.items() if v} == (
        {"file missing": 1} | ({"no label": unlabelled} if unlabelled else {}))
    assert set(letters(source)) == set("abcdef8") | (set(TEST) if edition == "physionet" else set())
    assert (source.manifest["view"] == "PA").all()
    assert (source.manifest["patient"] == source.manifest["id"]).all() and "own" in source.options["patient"]


def test_duplicate_and_blank_readings_are_counted_and_contradictions_refused(physionet):
    path = physionet / "annotations" / "image_labels_train.csv"
    frame = pd.read_csv(path)
    blank = {"image_id": name("5"), "rad_id": "R1", HEART: None}
    pd.concat([frame, frame.iloc[[0, 4]], pd.DataFrame([blank])]).to_csv(path, index=False)
    source = vindr_source(physionet)
    assert dict(source.excluded) == {"duplicate row": 2, "no label": 1, "file missing": 1}
    other = frame.iloc[[0]].assign(**{HEART: 1 - frame[HEART][0]})
    pd.concat([frame, other]).to_csv(path, index=False)
    line = rf"image_labels_train.csv: line {len(frame) + 2}: 'R1' gave image '{name('a')}' other labels"
    with pytest.raises(AttrinetError, match=line):
        vindr_source(physionet)


def test_a_blank_reading_does_not_count_as_one(physionet):
    path = physionet / "annotations" / "image_labels_train.csv"
    frame = pd.read_csv(path)
    frame[HEART] = frame[HEART].mask((frame["image_id"] == name("d")) & (frame["rad_id"] == "R2"))  # was 0
    frame[AORTA] = frame[AORTA].astype(float).mask(frame["image_id"] == name("f"))
    frame.to_csv(path, index=False)
    source = vindr_source(physionet)
    assert positives(source) == HELD["majority"] | TEST_HELD | {(BROKEN, HEART), ("d", HEART)}
    assert pd.isna(source.manifest.set_index("id").loc[name("f"), AORTA])


@pytest.mark.parametrize("above", ["", "..", "../.."])
def test_the_folder_or_one_above_it_may_be_given(physionet, tmp_path, above):
    if above == "../..":  # what a recursive download makes
        place = tmp_path / "physionet.org" / "files" / "vindr-cxr"
        place.mkdir(parents=True)
        shutil.move(physionet, place)
        root = tmp_path
    else:
        root = physionet / above
    assert len(vindr_source(root).manifest) == 9


def test_names_may_be_spelled_otherwise_and_files_may_carry_their_suffix(physionet):
    want = vindr_source(physionet, findings=[*FINDINGS, "Other diseases", "Nodule/Mass"], policy="any")
    for table in ("image_labels_train", "annotations_train"):
        path = physionet / "annotations" / f"{table}.csv"
        frame = pd.read_csv(path)
        frame["image_id"] += ".dicom"
        frame = frame.rename(columns=lambda name: name.replace(" ", "_") if name != HEART else "CARDIOMEGALY")
        if "class_name" in frame:
            frame["class_name"] = frame["class_name"].str.replace(" ", "_").str.replace("/", "-")
        frame.to_csv(path, index=False, encoding="utf-8-sig")
    found = vindr_source(physionet, findings=[*FINDINGS, "Other diseases", "Nodule/Mass"], policy="any")
    pd.testing.assert_frame_equal(found.manifest, want.manifest)
    pd.testing.assert_frame_equal(found.annotations, want.annotations)
    assert found.options["annotations"] == want.options["annotations"]


def test_a_test_table_that_names_its_consensus_reader_reads_the_same(physionet):
    want = vindr_source(physionet)
    for table in ("image_labels_test", "annotations_test"):
        edit(physionet / "annotations" / f"{table}.csv", rad_id="R99")
    pd.testing.assert_frame_equal(vindr_source(physionet).manifest, want.manifest)


@pytest.fixture
def many(tmp_path):
    """Kaggle's layout with 500 images nobody needs to open."""
    root = tmp_path / "many"
    (root / "train").mkdir(parents=True)
    rows = []
    for k in range(500):
        id = name(f"a{k:04d}")
        (root / "train" / f"{id}.png").touch()
        rows += [(id, "No finding", 14, f"R{r}", *[None] * 4) for r in (8, 9, 10)]
    pd.DataFrame(rows, columns=["image_id", "class_name", "class_id", "rad_id", *CORNERS]).to_csv(
        root / "train.csv", index=False)
    return root


def test_official_tests_stay_and_a_seeded_share_of_train_validates(physionet, many):
    source = vindr_source(physionet, seed=3)
    split = source.manifest.set_index("id")["split"]
    assert {id[0] for id in split.index[split == "test"]} == set(TEST)
    assert source.options["split"] == {"test": "official", "valid": {"from": "train", "fraction": 0.2}, "seed": 3}
    assert (split == "valid").sum() == 1  # of seven
    for k, row in pd.read_csv(many / "train.csv").drop_duplicates("image_id").reset_index().iterrows():
        if k < 400:
            (physionet / "train" / f"{row['image_id']}.png").touch()
    labels = pd.read_csv(many / "train.csv")[["image_id", "rad_id"]].iloc[:1200]
    path = physionet / "annotations" / "image_labels_train.csv"
    pd.concat([pd.read_csv(path), labels.assign(**dict.fromkeys(LABELS, 0))]).to_csv(path, index=False)
    first, again, other = (vindr_source(physionet, seed=seed).manifest["split"] for seed in (0, 0, 1))
    assert (first == again).all() and (first != other).any()
    counts = first.value_counts()
    assert abs(counts["valid"] - 0.2 * 407) < 1 and counts["test"] == 2


def test_without_official_test_labels_train_is_split_in_three_and_the_options_say_so(many):
    source = vindr_source(many, findings=["No finding"])
    assert source.manifest["split"].value_counts().to_dict() == {"train": 320, "test": 100, "valid": 80}
    assert source.options["split"]["test"]["because"] == "this edition publishes no test labels"
    source = vindr_source(many, findings=["No finding"], valid_fraction=0.5, test_fraction=0)
    assert source.manifest["split"].value_counts().to_dict() == {"train": 250, "valid": 250}
    assert (source.manifest["No finding"] == 1).all() and source.annotations.empty


@edition
@pytest.mark.parametrize("keep_aspect", [False, True])
def test_a_prepared_box_lies_on_the_pixels_that_were_drawn_on(request, tmp_path, edition, keep_aspect):
    source = vindr_source(request.getfixturevalue(edition))
    store = prepare(source, tmp_path / "store", 80, keep_aspect=keep_aspect, progress=False)
    assert store.meta["excluded"] == {k: v for k, v in source.excluded.items() if v} | {"unreadable": 1}
    listed = pd.read_csv(tmp_path / "store" / "excluded.csv", dtype=str)
    assert listed["id"].iloc[-1] == name(BROKEN)
    assert listed["reason"].iloc[:-1].value_counts().to_dict() | {"unreadable": 1} == store.meta["excluded"]
    drawn = {"a": HEART, "e": FIBROSIS} | ({"7": None} if edition == "physionet" else {})
    for image, finding in drawn.items():
        k = list(store.ids).index(name(image))
        masks = [store.mask(k, store.findings.index(f)) for f in ([finding] if finding else [HEART, EFFUSION])]
        mask, bright = np.logical_or.reduce(masks), store.images[k] > 160
        assert bright[binary_erosion(mask, iterations=2)].all() and mask.sum() > 100
        assert not bright[~binary_dilation(mask, iterations=2)].any()
    edge = store.mask(list(store.ids).index(name("c")), 0)  # that box leaves its image by 10 pixels
    assert edge[20, -1] and edge.any(axis=0)[-1] and not edge[:, :45].any()


def test_resized_copies_are_refused_until_the_original_sizes_lie_beside_them(kaggle, tmp_path):
    want = prepare(vindr_source(kaggle), tmp_path / "full", 80, progress=False)
    for file in list((kaggle / "train").iterdir()):
        image = file.stem[0]
        if image != BROKEN:
            pixels = pydicom.dcmread(file).pixel_array
            pixels = 4095 - pixels if image in INVERTED else pixels
            Image.fromarray((pixels >> 4).astype(np.uint8)).resize((96, 96)).save(file.with_suffix(".png"))
        file.unlink()
    with pytest.raises(AttrinetError, match=r"on 96×96 pixels, and so on \d of \d images: these are resized "
                                            r"copies\. Give .*train_meta\.csv: image_id, dim0 \(rows\), dim1"):
        vindr_source(kaggle)
    sizes = pd.DataFrame([(name(i), h, w) for i, (w, h) in SIZES.items()], columns=["image_id", "dim0", "dim1"])
    sizes.to_csv(kaggle / "train_meta.csv", index=False)
    store = prepare(vindr_source(kaggle), tmp_path / "small", 80, progress=False)
    assert list(store.ids) == list(want.ids)
    for k in range(len(store)):
        for c in range(len(FINDINGS)):
            np.testing.assert_array_equal(store.mask(k, c), want.mask(k, c))
    store = prepare(vindr_source(kaggle), tmp_path / "padded", 80, keep_aspect=True, progress=False)
    for k in range(len(store)):  # square copies need no padding, whatever the shape of the originals
        for c in range(len(FINDINGS)):
            np.testing.assert_array_equal(store.mask(k, c), want.mask(k, c))
    edit(kaggle / "train_meta.csv", dim1=0)
    with pytest.raises(AttrinetError, match="train_meta.csv: line 2: dim0 and dim1"):
        vindr_source(kaggle)


def test_boxes_of_a_file_without_readable_header_are_counted_and_the_file_is_left_to_prepare(kaggle):
    (kaggle / "train" / f"{name('a')}.dicom").write_bytes(b"\0" * 999)
    source = vindr_source(kaggle)
    assert source.options["annotations"]["left out"]["size unreadable"] == 2
    assert name("a") in set(source.manifest["id"]) and name("a") not in set(source.annotations["id"])


def test_a_dicom_file_is_taken_before_a_copy_of_it(kaggle):
    Image.new("L", (10, 10)).save(kaggle / "train" / f"{name('a')}.png")
    Image.new("L", (10, 10)).save(kaggle / "train" / f"{name('9')}.jpg")
    rows = vindr_source(kaggle, findings=[AORTA]).manifest.set_index("id")["source"]
    assert rows[name("a")].endswith(".dicom") and rows[name("9")].endswith(".jpg")


def test_a_box_drawn_off_the_image_is_counted_and_not_kept(physionet):
    path = physionet / "annotations" / "annotations_train.csv"
    many_boxes = [{"image_id": name("a"), "rad_id": "R1", "class_name": HEART, "x_min": 1, "y_min": 1, "x_max": 9,
                   "y_max": 9}] * 2
    off = {**many_boxes[0], "x_min": -9, "x_max": -1}
    odd = {**many_boxes[0], "class_name": "Pleural plaque"}
    pd.concat([pd.read_csv(path), pd.DataFrame([*many_boxes, off, odd])]).to_csv(path, index=False)
    account = vindr_source(physionet).options["annotations"]
    assert account["left out"] | {"duplicate row": 1, "outside the image": 1, "unknown class Pleural plaque": 1} == \
        account["left out"]


def test_labels_without_boxes_make_a_store_without_boxes(physionet):
    for split in ("train", "test"):
        (physionet / "annotations" / f"annotations_{split}.csv").unlink()
    source = vindr_source(physionet)
    check(source)
    assert source.annotations.empty and source.options["annotations"]["files"].startswith("none given")


@pytest.mark.parametrize("corners", [
    (30, 40, 30, 90), (50, 40, 30, 90), (30, 90, 60, 40), (30, None, 60, 90), ("x", 1, 2, 3),
])
def test_a_box_without_extent_names_its_file_and_line(physionet, corners):
    path = physionet / "annotations" / "annotations_train.csv"
    frame = pd.read_csv(path, dtype=object)
    frame.loc[3, CORNERS] = corners
    frame.to_csv(path, index=False)
    with pytest.raises(AttrinetError, match=rf"train.csv: line 5: {AORTA} of image '{name('c')}' is no box"):
        vindr_source(physionet)


@pytest.mark.parametrize("options,message", [
    ({"findings": ["Effusion"]}, "findings: 'Effusion' is unknown; did you mean 'Pleural effusion'"),
    ({"findings": ["Pleural_thickening"]}, "did you mean 'Pleural thickening'"),
    ({"findings": []}, "at least one"),
    ({"policy": "majorty"}, "policy: 'majorty' is unknown; did you mean 'majority'"),
    ({"valid_fraction": 0}, "valid_fraction=0"),
    ({"test_fraction": 1}, "test_fraction=1"),
])
def test_a_wrong_option_is_named_with_the_nearest_right_one(kaggle, options, message):
    with pytest.raises(AttrinetError, match=message):
        vindr_source(kaggle, **options)


def test_a_wrong_folder_or_table_is_named(physionet, kaggle, tmp_path):
    with pytest.raises(AttrinetError, match="found none"):
        vindr_source(tmp_path / "nowhere")
    shutil.copytree(kaggle, tmp_path / "twice" / "one")
    shutil.copytree(kaggle, tmp_path / "twice" / "two")
    with pytest.raises(AttrinetError, match="several: one, two; name one of them"):
        vindr_source(tmp_path / "twice")
    with pytest.raises(AttrinetError, match="train.csv: no row of class 'Edema': choose other .* are Aortic"):
        vindr_source(kaggle, findings=["Edema"])
    shutil.rmtree(physionet / "test")
    with pytest.raises(AttrinetError, match=rf"image_labels_test.csv: none of its 2 images .* test/{name('7')}.dicom"):
        vindr_source(physionet)
    notes = physionet / "annotations"
    edit(notes / "image_labels_train.csv", **{HEART: -1})
    with pytest.raises(AttrinetError, match="labels_train.csv: line 2: Cardiomegaly is -1; labels are 1, 0 or"):
        vindr_source(physionet)
    edit(notes / "image_labels_train.csv", **{HEART: 0, "cardiomegaly": 0})
    with pytest.raises(AttrinetError, match="column 'Cardiomegaly' comes twice"):
        vindr_source(physionet)
    shutil.copy(notes / "image_labels_test.csv", notes / "image_labels_train.csv")
    with pytest.raises(AttrinetError, match="share 2 patients"):
        vindr_source(physionet)
    edit(notes / "image_labels_train.csv", image_id=None)
    with pytest.raises(AttrinetError, match="line 2: no image_id"):
        vindr_source(physionet)
    (notes / "image_labels_train.csv").write_text("image_id,Cardiomegalia\n")
    with pytest.raises(AttrinetError, match="no column 'Cardiomegaly'; did you mean 'Cardiomegalia'"):
        vindr_source(physionet, findings=[HEART])


@edition
def test_the_command_line_prepares_it_and_answers_a_wrong_policy_in_one_line(request, tmp_path, edition):
    root, out = request.getfixturevalue(edition), tmp_path / "store"
    arguments = ["prepare", "vindr", str(root), "--out", str(out), "--size", "32", "--workers", "1", "--quiet"]
    done = CliRunner().invoke(cli, [*arguments, "--policy", "any", "--findings", f"{HEART},{EFFUSION}", "--verify"])
    assert done.exit_code == 0, done.output
    assert "1 file missing" in done.output and "1 unreadable" in done.output and "verified" in done.output
    meta = json.loads((out / "meta.json").read_text())
    assert meta["findings"] == [HEART, EFFUSION] and meta["options"]["policy"] == "any"
    assert meta["annotated"] == {HEART: 3, EFFUSION: 2} if edition == "physionet" else {HEART: 2, EFFUSION: 1}
    done = CliRunner().invoke(cli, [*arguments, "--policy", "most"])
    assert isinstance(done.exception, AttrinetError) and "policy: 'most' is unknown" in str(done.exception)
    listed = CliRunner().invoke(cli, ["datasets"])
    assert "attrinet prepare vindr vindr-cxr --out stores/vindr --size 320" in listed.output


@pytest.fixture
def published(shared, tmp_path):
    """Kaggle's train.csv, and what plain reading of its lines says about it."""
    (tmp_path / "train.csv").write_bytes(gzip.decompress((shared / "data/tables/vinbigdata-train.csv.gz").read_bytes()))
    with open(tmp_path / "train.csv", newline="") as file:
        return tmp_path, list(csv.DictReader(file))


@pytest.mark.parametrize("policy,least", [("majority", 2), ("any", 1), ("all", 3)])
def test_the_published_table_is_read_whole(published, monkeypatch, policy, least):
    root, lines = published
    read, drew = defaultdict(set), defaultdict(set)
    for line in lines:
        read[line["image_id"]].add(line["rad_id"])
        drew[line["image_id"], line["class_name"]].add(line["rad_id"])
    # Nguyen et al., 2022: 15,000 training images, each read by three of 17 radiologists
    assert len(read) == 15_000 and {len(who) for who in read.values()} == {3}
    assert len(set().union(*read.values())) == 17
    monkeypatch.setattr(vindr, "image_files", lambda home: {id: f"{id}.dicom" for id in read})
    monkeypatch.setattr("attrinet.data.vindr_boxes.image_size", lambda path: (4000, 4000))
    findings = sorted({line["class_name"] for line in lines})
    assert len(findings) == 15 and set(findings) <= set(LABELS)
    source = vindr_source(root, findings=findings, policy=policy)
    check(source)
    assert source.options["readers"] == {"train": {"3": 15_000}}
    assert len(source.manifest) == 15_000 and not any(source.excluded.values())
    assert source.manifest["split"].value_counts().to_dict() == {"train": 9600, "test": 3000, "valid": 2400}
    labels = source.manifest.set_index("id")
    for finding in findings:
        held = {id for (id, drawn), who in drew.items() if drawn == finding and len(who) >= least}
        assert set(labels.index[labels[finding] == 1]) == held
        assert (labels[finding] == 0).sum() == 15_000 - len(held)
    boxes = sorted(
        (line["image_id"], line["class_name"], x, y, float(line["x_max"]) - x, float(line["y_max"]) - y)
        for line in lines if line["x_min"] and len(drew[line["image_id"], line["class_name"]]) >= least
        for x, y in [(float(line["x_min"]), float(line["y_min"]))]
    )
    columns = ["id", "finding", "x", "y", "w", "h"]
    assert sorted(map(tuple, source.annotations[columns].to_numpy().tolist())) == boxes
