"""ChestX-ray14 is read as NIH distributes it: labels, official split, boxes, and the quirks of its tables."""

import csv
import gzip
import json
import shutil
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image
from scipy.ndimage import binary_dilation, binary_erosion

from attrinet.cli import cli
from attrinet.data import chestxray14
from attrinet.data.chestxray14 import FINDINGS, LABELS, chestxray14_source
from attrinet.data.manifest import check
from attrinet.data.prepare import prepare
from attrinet.data.store import Store
from attrinet.errors import AttrinetError

HEADER = ("Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
          "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]")
ROWS = [  # image, labels, patient, view
    ("00000001_000", "Cardiomegaly|Emphysema", 1, "PA"), ("00000001_001", "No Finding", 1, "AP"),
    ("00000002_000", "Effusion", 2, "PA"), ("00000003_000", "Atelectasis|Edema", 3, "AP"),
    ("00000004_000", "No Finding", 4, "PA"), ("00000005_000", "Consolidation", 5, "PA"),
    ("00000011_000", "Atelectasis|Cardiomegaly", 11, "PA"), ("00000011_001", "No Finding", 11, "PA"),
    ("00000012_000", "Effusion|Infiltration", 12, "AP"), ("00000013_000", "Pleural_Thickening", 13, "PA"),
    ("00000021_000", "Mass", 21, "PA"), ("00000001_000", "Cardiomegaly|Emphysema", 1, "PA"),
]
TRAIN_VAL, TEST = [row[0] for row in ROWS[:6]], [row[0] for row in ROWS[6:10]]
MISSING, BROKEN, UNLISTED, UNLABELLED = "00000003_000", "00000004_000", "00000021_000", "00000031_000"
BOX = (512, 256, 256, 384)  # of "00000011_000": x, y, w, h
BOXES = [
    ("00000011_000", "Cardiomegaly", *BOX), ("00000011_000", "Atelectasis", 10.5, 20.25, 300, 200),
    ("00000011_000", "Atelectasis", 700, 20, 200, 200), ("00000012_000", "Effusion", -40, 900, 240, 300),
    ("00000012_000", "Infiltrate", 100, 100, 100, 100), (UNLISTED, "Mass", 1, 2, 3, 4),
    (UNLISTED, "Cardiomegaly", 1, 2, 3, 4),
]


def write_labels(path, rows=ROWS):
    """As NIH wrote it: the first edition ends each line in a comma and gives the age as 058Y."""
    age, end = ("058", "") if "v2020" in path.name else ("058Y", ",")
    lines = [f"{image}.png,{labels},0,{patient},{age},M,{view},2682,2749,0.143,0.143{end}"
             for image, labels, patient, view in rows]
    path.write_text("\n".join([HEADER + end, *lines]) + "\n")


def write_boxes(path, boxes=BOXES, header="Image Index,Finding Label,Bbox [x,y,w,h],,,", end=""):
    lines = [f"{image}.png,{finding},{x},{y},{w},{h}{end}" for image, finding, x, y, w, h in boxes]
    path.write_text("\n".join([header, *lines]) + "\n")


def write_list(path, ids):
    path.write_text("\n".join(f"{id}.png" for id in ids))  # no line end after the last, as in the official ones


def write_images(folder, ids, side=64):
    """Each dark, with BOX bright."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 60, (side, side), dtype=np.uint8)
    x, y, w, h = (v * side // 1024 for v in BOX)
    pixels[y : y + h, x : x + w] += 180
    for id in ids:
        Image.fromarray(pixels).save(folder / f"{id}.png")


@pytest.fixture
def root(tmp_path):
    """The first edition, with its numbered folders of images."""
    root = tmp_path / "ChestX-ray14"
    root.mkdir()
    write_labels(root / "Data_Entry_2017.csv")
    write_boxes(root / "BBox_List_2017.csv")
    write_list(root / "train_val_list.txt", [*TRAIN_VAL, UNLABELLED])
    write_list(root / "test_list.txt", TEST)
    write_images(root / "images_001" / "images", set(TRAIN_VAL) - {MISSING})
    write_images(root / "images_012" / "images", [*TEST, UNLISTED])
    broken = root / "images_001" / "images" / f"{BROKEN}.png"
    broken.write_bytes(broken.read_bytes()[:200])
    return root


def row(source, id):
    return source.manifest.set_index("id").loc[id]


def test_labels_patients_views_and_files_are_those_of_the_table(root):
    source = chestxray14_source(root, findings=LABELS)
    check(source)
    assert source.manifest["id"].tolist() == [*(id for id in TRAIN_VAL if id != MISSING), *TEST]
    first = row(source, "00000001_000")
    assert {label for label in LABELS if first[label] == 1} == {"Cardiomegaly", "Emphysema"}
    assert (first["patient"], first["view"]) == ("1", "PA")
    assert first["source"] == str(root / "images_001" / "images" / "00000001_000.png")
    assert row(source, "00000001_001")["No Finding"] == 1 and row(source, "00000001_001")["view"] == "AP"
    assert chestxray14_source(root).findings == FINDINGS
    assert chestxray14_source(root).intensity == "paper"


@pytest.mark.parametrize("name", ["Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv"])
@pytest.mark.parametrize("packed", [False, True])
def test_both_editions_of_the_table_are_read_also_packed(root, name, packed):
    want = chestxray14_source(root, findings=LABELS)
    (root / "Data_Entry_2017.csv").unlink()
    write_labels(root / name)
    if packed:
        for path in (root / name, root / "BBox_List_2017.csv"):
            path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    got = chestxray14_source(root, findings=LABELS)
    pd.testing.assert_frame_equal(got.manifest, want.manifest)
    pd.testing.assert_frame_equal(got.annotations, want.annotations)
    assert got.options["labels"] == str(root / name) + (".gz" if packed else "")


@pytest.mark.parametrize("header,end", [
    ("Image Index,Finding Label,Bbox [x,y,w,h],,,", ""), ("Image Index,Finding Label,Bbox [x,y,w,h]", ",,,"),
    ("Image Index,Finding Label,Bbox [x,y,w,h],,,", ",,,"), ("image,finding,x,y,w,h", ""),
])
def test_boxes_are_read_by_position_whatever_their_header(root, header, end):
    write_boxes(root / "BBox_List_2017.csv", header=header, end=end)
    boxes = chestxray14_source(root, findings=["Effusion", "Infiltration", "Atelectasis"]).annotations
    assert boxes[["id", "finding", *"xywh"]].to_numpy().tolist() == [
        ["00000011_000", "Atelectasis", 10.5, 20.25, 300, 200], ["00000011_000", "Atelectasis", 700, 20, 200, 200],
        ["00000012_000", "Effusion", -40, 900, 240, 300], ["00000012_000", "Infiltration", 100, 100, 100, 100],
    ]
    assert (boxes[["source_width", "source_height"]] == 1024).all(axis=None)


@pytest.mark.parametrize("folder", ["images", ".", "images-224/images-224", "images_07"])
def test_all_images_may_lie_in_one_folder(root, folder):
    want = chestxray14_source(root).manifest
    (root / folder).mkdir(parents=True, exist_ok=True)
    for path in sorted(root.glob("images_0??/images/*.png")):
        shutil.move(path, root / folder)
    for name in ("images_001", "images_012"):
        shutil.rmtree(root / name)
    got = chestxray14_source(root).manifest
    pd.testing.assert_frame_equal(got.drop(columns="source"), want.drop(columns="source"))
    assert row(chestxray14_source(root), TEST[0])["source"] == str(root / folder / f"{TEST[0]}.png")


def test_a_smaller_copy_beside_the_images_is_not_taken_for_them(root):
    write_images(root / "images_224", TEST, 16)
    assert "images_012" in row(chestxray14_source(root), TEST[0])["source"]
    write_images(root / "images", TEST[:1], 16)
    with pytest.raises(AttrinetError, match=r"images/00000011_000.png and .*images_012.*two images of one name"):
        chestxray14_source(root)


def test_rows_of_an_image_that_contradict_each_other_are_refused(root):
    table = root / "Data_Entry_2017.csv"
    lines = table.read_text().splitlines()
    image, labels, *rest = lines[1].split(",")
    other = "Cardiomegaly" if "Cardiomegaly" not in labels else "Effusion"
    table.write_text("\n".join([*lines, ",".join([image, other, *rest])]) + "\n")
    with pytest.raises(AttrinetError, match=f"Data_Entry_2017.csv: two rows .* '{image.removesuffix('.png')}'"):
        chestxray14_source(root)


def test_what_is_left_out_is_counted_by_reason(root):
    source = chestxray14_source(root)
    assert source.excluded == {"duplicate row": 1, "in neither list": 1, "file missing": 1,
                               "listed without a row of labels": 1}
    pa = chestxray14_source(root, views=["PA"])
    assert pa.excluded == source.excluded | {"AP view": 3, "file missing": 0}
    assert set(pa.manifest["view"]) == {"PA"}
    for found in (source, pa):
        assert len(found.manifest) + sum(found.excluded.values()) == len(ROWS) + len({UNLABELLED})


def test_boxes_that_are_not_used_are_counted(root):
    assert chestxray14_source(root).options["annotations"] == {
        "file": str(root / "BBox_List_2017.csv"), "images": 2, "boxes": {"test": 4},
        "left out": {"finding not used": 2, "image not used": 1},
    }


def many(root, patients=200, tested=100):
    """A larger table: `patients` of two images each to train and validate, `tested` with a box each to test."""
    rows = [(f"{p:08d}_{k:03d}", "Effusion", p, ("PA", "AP")[k]) for p in range(patients + tested) for k in range(2)]
    write_labels(root / "Data_Entry_2017.csv", rows)
    write_list(root / "train_val_list.txt", [id for id, _, p, _ in rows if p < patients])
    write_list(root / "test_list.txt", [id for id, _, p, _ in rows if p >= patients])
    write_boxes(root / "BBox_List_2017.csv", [(f"{p:08d}_000", "Effusion", 1, 2, 30, 40)
                                              for p in range(patients, patients + tested // 2)])
    for folder in root.glob("images_*"):
        shutil.rmtree(folder)
    (root / "images").mkdir()
    for id, *_ in rows:
        (root / "images" / f"{id}.png").touch()


def test_a_share_of_the_train_val_patients_validates_the_same_ones_whatever_views_are_chosen(root):
    many(root)
    source = chestxray14_source(root)
    check(source)
    assert source.manifest.groupby("split")["patient"].nunique().to_dict() == {"test": 100, "train": 160, "valid": 40}
    assert (source.manifest.groupby("patient")["split"].nunique() == 1).all()
    only = chestxray14_source(root, views=["AP"])
    pd.testing.assert_series_equal(only.manifest.set_index("id")["split"],
                                   source.manifest[source.manifest["view"] == "AP"].set_index("id")["split"])
    again = chestxray14_source(root, seed=1, valid_fraction=0.1)
    assert (again.manifest["split"] == "valid").sum() == 40
    assert set(again.manifest["patient"][again.manifest["split"] == "valid"]) - \
        set(source.manifest["patient"][source.manifest["split"] == "valid"])
    assert (again.options["valid_fraction"], again.options["seed"]) == (0.1, 1)


def test_a_share_of_the_annotated_patients_can_train_and_the_rest_of_the_split_stays(root):
    many(root)
    official, guided = (chestxray14_source(root, box_train=share) for share in (0, 0.4))
    check(guided)
    assert official.options["annotations"]["boxes"] == {"test": 50}
    assert guided.options["annotations"]["boxes"] == {"test": 30, "train": 20} and guided.options["box_train"] == 0.4
    moved = official.manifest["split"] != guided.manifest["split"]
    assert (official.manifest["split"][moved] == "test").all() and (guided.manifest["split"][moved] == "train").all()
    assert moved.sum() == 40  # both images of the 20 patients, also the one without a box
    other = chestxray14_source(root, box_train=0.4, seed=1)
    assert (other.manifest["split"] != guided.manifest["split"])[official.manifest["split"] == "test"].any()


@pytest.mark.parametrize("side,size", [(1024, 64), (256, 80), (64, 64)])
def test_a_box_lies_on_the_same_spot_whatever_the_size_of_the_copy(root, tmp_path, side, size):
    write_images(root / "images_012" / "images", TEST, side)
    store = prepare(chestxray14_source(root), tmp_path / "store", size, progress=False)
    k = list(store.ids).index("00000011_000")
    mask, bright = store.mask(k, FINDINGS.index("Cardiomegaly")), store.images[k] > 160
    assert mask.sum() == pytest.approx(size * size * 256 * 384 / 1024**2, rel=0.1)
    assert bright[binary_erosion(mask)].all() and not bright[~binary_dilation(mask)].any()
    two = store.mask(k, FINDINGS.index("Atelectasis"))
    assert two.sum() == pytest.approx(size * size * (300 * 200 + 200 * 200) / 1024**2, rel=0.15)
    beyond = store.mask(list(store.ids).index("00000012_000"), FINDINGS.index("Effusion"))
    assert beyond.sum() == pytest.approx(size * size * 200 * 124 / 1024**2, rel=0.2) and beyond[-1, 0]


def test_prepare_leaves_out_what_cannot_be_read_and_names_it(root, tmp_path):
    store = prepare(chestxray14_source(root), tmp_path / "store", 32, progress=False)
    assert store.meta["excluded"] == {"duplicate row": 1, "in neither list": 1, "file missing": 1, "unreadable": 1,
                                      "listed without a row of labels": 1}
    listed = pd.read_csv(tmp_path / "store" / "excluded.csv", dtype=str)
    assert listed["id"].iloc[-1] == BROKEN and listed["source"].notna().tolist() == [False] * 4 + [True]
    assert listed["reason"].iloc[:-1].value_counts().to_dict() | {"unreadable": 1} == store.meta["excluded"]
    assert UNLABELLED in listed.set_index("reason")["id"]["listed without a row of labels"]
    assert store.meta["intensity"] == "paper" and len(store) == 8
    json.dumps(store.meta)


def test_the_command_line_does_the_same(root, tmp_path):
    out = tmp_path / "store"
    arguments = ["prepare", "chestxray14", root, "--out", out, "--size", 32, "--views", "PA", "--box-train", 0.5,
                 "--valid-fraction", 0.5, "--seed", 3, "--findings", "Cardiomegaly,Mass", "--workers", 1, "--quiet"]
    done = CliRunner().invoke(cli, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0 and "3 AP view" in done.output
    store, findings = Store.open(out), ("Cardiomegaly", "Mass")
    source = chestxray14_source(root, findings=findings, views=["PA"], box_train=0.5, valid_fraction=0.5, seed=3)
    assert store.findings == findings and store.meta["options"] == source.options
    assert set(store.ids) == set(source.manifest["id"]) - {BROKEN}
    assert "chestxray14" in CliRunner().invoke(cli, ["datasets"]).output


@pytest.mark.parametrize("options,message", [
    ({"findings": ["Pleural Effusion"]}, "findings: 'Pleural Effusion' is unknown; did you mean 'Effusion'"),
    ({"findings": []}, "at least one"),
    ({"views": ["lateral"]}, "views: 'lateral' is unknown"),
    ({"valid_fraction": 1.2}, "valid_fraction=1.2: want a share"),
    ({"valid_fraction": 0}, "valid_fraction=0: want a share"),
    ({"box_train": 1}, "box_train=1: want a share"),
])
def test_a_wrong_option_is_named(root, options, message):
    with pytest.raises(AttrinetError, match=message):
        chestxray14_source(root, **options)


@pytest.mark.parametrize("change,message", [
    (("00000002_000", "Efusion", 2, "PA"), "2017.csv: line 14: Finding Labels: 'Efusion' is unknown; .*'Effusion'"),
    (("00000002_000", "Mass|", 2, "PA"), "line 14: Finding Labels: '' is unknown"),
    (("00000002_000", "", 2, "PA"), "line 14: 'Finding Labels' is blank"),
    (("00000002_000", "Mass", "", "PA"), "line 14: 'Patient ID' is blank"),
])
def test_a_wrong_row_of_labels_is_named(root, change, message):
    write_labels(root / "Data_Entry_2017.csv", [*ROWS, change])
    with pytest.raises(AttrinetError, match=message):
        chestxray14_source(root)


@pytest.mark.parametrize("box,message", [
    (("a", "Efusion", 1, 2, 3, 4), "line 9: Finding Label: 'Efusion' is unknown; did you mean 'Effusion'"),
    (("a", "", 1, 2, 3, 4), "line 9: Finding Label"),
    (("a", "Mass", 1, 2, 0, 4), "line 9: box 1.0, 2.0, 0.0, 4.0: want .*positive w, h"),
    (("a", "Mass", 1, 2, 3, -4), "line 9: box"),
    (("a", "Mass", 1, 2, 3, ""), "line 9: box"),
    (("a", "Mass", 1, "x", 3, 4), "line 9: box"),
    (("a", "Mass", 2000, 2, 3, 4), "line 9: box .*within 1024×1024"),
    (("a", "Mass", 1, -9, 3, 4), "line 9: box"),
])
def test_a_wrong_box_is_named(root, box, message):
    write_boxes(root / "BBox_List_2017.csv", [*BOXES, box])
    with pytest.raises(AttrinetError, match=message):
        chestxray14_source(root)


def test_a_wrong_row_and_a_wrong_box_are_named_by_their_line_though_lines_before_are_blank(root):
    boxes, labels = root / "BBox_List_2017.csv", root / "Data_Entry_2017.csv"
    text = boxes.read_text().replace("\n", "\n\n", 2)
    boxes.write_text(text + "a.png,Mass,1,2,0,4\n")
    with pytest.raises(AttrinetError, match="line 11: box 1.0, 2.0, 0.0, 4.0"):
        chestxray14_source(root)
    boxes.write_text(text)
    write_labels(labels, [*ROWS, ("00000002_000", "Efusion", 2, "PA")])
    labels.write_text(labels.read_text().replace("\n", "\n\n", 1))
    with pytest.raises(AttrinetError, match="line 15: Finding Labels: 'Efusion'"):
        chestxray14_source(root)


def test_an_image_or_a_patient_in_both_lists_is_an_error(root):
    write_list(root / "test_list.txt", [*TEST, "00000005_000"])
    with pytest.raises(AttrinetError, match="train_val_list.txt and .*test_list.txt share 1 images, '00000005_000'"):
        chestxray14_source(root)
    write_list(root / "train_val_list.txt", [id for id in TRAIN_VAL if id != "00000001_001"])
    write_list(root / "test_list.txt", [*TEST, "00000001_001"])
    with pytest.raises(AttrinetError, match="test_list.txt share 1 patients, '1' among them"):
        chestxray14_source(root)


@pytest.mark.parametrize("name", ["Data_Entry_2017.csv", "BBox_List_2017.csv", "train_val_list.txt", "test_list.txt"])
def test_a_missing_or_wrong_file_is_named(root, name):
    (root / name).write_text("a,b\n1,2\n")
    with pytest.raises(AttrinetError, match=name):
        chestxray14_source(root)
    (root / name).write_text("")
    with pytest.raises(AttrinetError, match=name):
        chestxray14_source(root)
    (root / name).unlink()
    with pytest.raises(AttrinetError, match=f"ChestX-ray14: .*{name} not found there"):
        chestxray14_source(root)


def test_a_folder_without_images_says_where_they_should_lie(root):
    for folder in root.glob("images_*"):
        shutil.rmtree(folder)
    with pytest.raises(AttrinetError, match="none of the 10 images .*want them at images_001/images/00000001_000.png"):
        chestxray14_source(root)


@pytest.fixture(scope="module")
def published(shared, tmp_path_factory):
    """Folder with the published tables and lists that put every boxed patient into test; the lines of the tables."""
    root, lines = tmp_path_factory.mktemp("published"), {}
    for name in ("Data_Entry_2017_v2020.csv", "BBox_List_2017.csv"):
        text = gzip.decompress((shared / "data" / "tables" / f"{name}.gz").read_bytes())
        (root / name).write_bytes(text)
        lines[name] = list(csv.reader(text.decode().splitlines()))[1:]
    labels, boxes = lines.values()
    boxed = {line[0] for line in boxes}
    tested = {line[3] for line in labels if line[0] in boxed}
    for name, is_test in (("train_val_list.txt", False), ("test_list.txt", True)):
        (root / name).write_text("\n".join(line[0] for line in labels if (line[3] in tested) == is_test))
    return root, labels, boxes


def test_the_published_tables_are_read_whole(published, monkeypatch):
    root, labels, boxes = published
    everywhere = {line[0].removesuffix(".png"): line[0] for line in labels}
    monkeypatch.setattr(chestxray14, "image_files", lambda folder: everywhere)
    source = chestxray14_source(root, findings=LABELS)
    check(source)
    assert not any(source.excluded.values())
    # Wang et al., CVPR 2017, and NIH's notes on the 14-finding edition
    assert len(source.manifest) == len(labels) == 112_120 and source.manifest["patient"].nunique() == 30_805
    assert len(source.annotations) == len(boxes) == 984 and source.annotations["id"].nunique() == 880
    assert source.manifest["source"].tolist() == [line[0] for line in labels]
    assert source.manifest["patient"].tolist() == [line[3] for line in labels]
    assert source.manifest["view"].tolist() == [line[6] for line in labels]
    plain = Counter(label for line in labels for label in line[1].split("|"))
    assert source.manifest[list(LABELS)].sum().to_dict() == plain
    drawn = Counter(line[1].replace("Infiltrate", "Infiltration") for line in boxes)
    assert Counter(source.annotations["finding"]) == drawn
    assert drawn == {"Atelectasis": 180, "Cardiomegaly": 146, "Effusion": 153, "Infiltration": 123, "Mass": 85,
                     "Nodule": 79, "Pneumonia": 120, "Pneumothorax": 98}
    corners = [[float(v) for v in line[2:6]] for line in boxes]
    np.testing.assert_array_equal(source.annotations[list("xywh")].to_numpy(), corners)
    positive = source.manifest.set_index("id")
    for box in source.annotations.itertuples():  # what was drawn is what was found
        assert positive.at[box.id, box.finding] == 1


def test_forty_percent_of_the_published_annotations_can_guide(published, monkeypatch):
    root, labels, _ = published
    monkeypatch.setattr(chestxray14, "image_files", lambda folder: {line[0][:-4]: line[0] for line in labels})
    boxes = chestxray14_source(root, box_train=0.4, findings=LABELS).options["annotations"]["boxes"]
    assert 0.35 < boxes["train"] / 984 < 0.45 and boxes["train"] + boxes["test"] == 984  # of patients, so about
