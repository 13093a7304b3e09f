"""CheXpert and CheXlocalize are read as they are downloaded: labels, views, splits and lesions."""

import csv
import gzip
import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image
from pycocotools import mask as coco
from scipy.ndimage import binary_dilation, binary_erosion

from attrinet.cli import cli
from attrinet.data import annotations as notes
from attrinet.data import chexpert, rle
from attrinet.data.chexlocalize import chexlocalize_annotations, chexlocalize_files, fill
from attrinet.data.chexpert import FINDINGS, LABELS, chexpert_source
from attrinet.data.manifest import check
from attrinet.data.prepare import prepare
from attrinet.data.store import Store
from attrinet.errors import AttrinetError

HEIGHT, WIDTH = 300, 400  # of the drawings; the miniature's image files are a tenth of that, as in CheXpert-small
LESION = [[120, 60], [239, 60], [239, 179], [120, 179]]  # a square contour, outline included
TRAIN = [  # path, Frontal/Lateral, AP/PA, Atelectasis, Cardiomegaly, Consolidation, Edema, Pleural Effusion
    ("train/patient00001/study1/view1_frontal.jpg", "Frontal", "AP", -1, 1, -1, -1, None),
    ("train/patient00001/study1/view2_lateral.jpg", "Lateral", None, -1, 1, -1, -1, None),
    ("train/patient00002/study1/view1_frontal.jpg", "Frontal", "PA", None, None, None, None, None),
    ("train/patient00002/study2/view1_frontal.jpg", "Frontal", "AP", 0, 0, 0, 1, 1),
    ("train/patient00003/study1/view1_frontal.jpg", "Frontal", "PA", 1, 0, 0, 0, 1),
    ("train/patient00004/study1/view1_frontal.jpg", "Frontal", "LL", 0, 0, 1, 0, 1),
    ("train/patient00001/study1/view1_frontal.jpg", "Frontal", "AP", -1, 1, -1, -1, None),
]
VALID = [
    ("valid/patient64541/study1/view1_frontal.jpg", "Frontal", "AP", 0, 1, 0, 0, 0),
    ("valid/patient64542/study1/view1_frontal.jpg", "Frontal", "PA", 0, 0, 0, 0, 0),
    ("valid/patient64542/study1/view2_lateral.jpg", "Lateral", None, 0, 0, 0, 0, 0),
]
TEST = [
    ("test/patient64741/study1/view1_frontal.jpg", None, None, 0, 1, 0, 0, 1),
    ("test/patient64741/study1/view2_lateral.jpg", None, None, 0, 1, 0, 0, 1),
    ("test/patient64742/study1/view1_frontal.jpg", None, None, 0, 0, 0, 0, 0),
]
MISSING, BROKEN = TRAIN[3][0], TRAIN[4][0]


def write_table(path, rows, prefix, views=True):
    frame = pd.DataFrame(rows, columns=["Path", "Frontal/Lateral", "AP/PA", *FINDINGS])
    frame["Path"] = prefix + frame["Path"]
    for label in LABELS:
        if label not in frame:
            frame[label] = 0.0
    path.parent.mkdir(parents=True, exist_ok=True)
    frame[["Path", *(["Frontal/Lateral", "AP/PA"] if views else []), *LABELS]].to_csv(path, index=False)


def write_images(folder, paths):
    """Each dark, with the square of LESION bright."""
    pixels = np.random.default_rng(0).integers(0, 60, (HEIGHT // 10, WIDTH // 10), dtype=np.uint8)
    pixels[6:18, 12:24] += 180
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / path, quality=95)


def segmentation(contours=()):
    mask = coco.encode(np.asfortranarray(fill(contours, HEIGHT, WIDTH), np.uint8))
    return {"size": [HEIGHT, WIDTH], "counts": mask["counts"].decode()}


def write_json(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))


@pytest.fixture
def small(tmp_path):
    """CheXpert-v1.0-small/ as it is unpacked."""
    root = tmp_path / "data" / "CheXpert-v1.0-small"
    write_table(root / "train.csv", TRAIN, "CheXpert-v1.0-small/")
    write_table(root / "valid.csv", VALID, "CheXpert-v1.0-small/")
    write_images(root, {row[0] for row in TRAIN + VALID} - {MISSING})
    (root / BROKEN).write_bytes((root / BROKEN).read_bytes()[:200])
    return root


@pytest.fixture
def localize(tmp_path):
    """The download of CheXlocalize, with its own copy of the validation images."""
    root = tmp_path / "chexlocalize"
    write_table(root / "CheXpert" / "test_labels.csv", TEST, "", views=False)
    write_table(root / "CheXpert" / "val_labels.csv", VALID, "CheXpert-v1.0/", views=False)
    write_images(root / "CheXpert", [row[0].replace("valid/", "val/") for row in VALID + TEST])
    write_json(
        root / "CheXlocalize",
        gt_annotations_val={
            "patient64541_study1_view1_frontal": {"img_size": [HEIGHT, WIDTH], "Cardiomegaly": [LESION]},
        },
        gt_segmentations_val={"patient64541_study1_view1_frontal": {
            "Cardiomegaly": segmentation([LESION]), "Edema": segmentation(), "Airspace Opacity": segmentation([LESION]),
        }},
        gt_annotations_test={
            "patient64741_study1_view1_frontal": {
                "img_size": [HEIGHT, WIDTH], "Pleural Effusion": [LESION], "Edema": [],
            },
            "patient64741_study1_view2_lateral": {"img_size": [HEIGHT, WIDTH], "Cardiomegaly": [LESION]},
            "patient64742_study1_view1_frontal": {"Cardiomegaly": [LESION]},
        },
        gt_segmentations_test={},
    )
    return root


def row(source, id):
    return source.manifest.set_index("id").loc[id]


FIRST = "patient00001_study1_view1_frontal"


@pytest.mark.parametrize("prefix", ["CheXpert-v1.0/", "CheXpert-v1.0-small/", "/somewhere/else/", ""])
def test_the_prefix_of_the_paths_does_not_matter_nor_whether_the_folder_or_its_parent_is_given(small, prefix):
    write_table(small / "train.csv", TRAIN, prefix)
    write_table(small / "valid.csv", VALID, prefix)
    source = chexpert_source(small)
    check(source)
    assert source.manifest["id"].tolist() == [
        FIRST, "patient00002_study1_view1_frontal", "patient00003_study1_view1_frontal",
        "patient00004_study1_view1_frontal", "patient64541_study1_view1_frontal", "patient64542_study1_view1_frontal",
    ]
    assert source.manifest["split"].tolist() == ["train"] * 4 + ["valid"] * 2
    assert row(source, FIRST)["source"] == str(small / TRAIN[0][0])
    pd.testing.assert_frame_equal(chexpert_source(small.parent).manifest, source.manifest)


@pytest.mark.parametrize("other", [".png", ".txt", ".npy", ".JPG"])
@pytest.mark.parametrize("first", [True, False])
def test_a_file_beside_the_jpeg_that_the_tables_name_is_never_taken_for_it(small, other, first, monkeypatch):
    (small / TRAIN[0][0]).with_suffix(other).write_bytes(b"something else")
    walk = os.walk
    monkeypatch.setattr(os, "walk", lambda top: (
        (parent, below, sorted(names, reverse=first)) for parent, below, names in walk(top)))
    assert row(chexpert_source(small), FIRST)["source"] == str(small / TRAIN[0][0])


def test_full_size_batches_side_by_side_are_one_dataset(small, tmp_path):
    batches = tmp_path / "batches"
    first = batches / "CheXpert-v1.0 batch 1 (validate & csv)"
    first.mkdir(parents=True)
    for name in ("train.csv", "valid.csv", "valid"):
        shutil.move(small / name, first / name)
    for number, patient in ((2, 1), (2, 2), (3, 3), (4, 4)):
        folder = batches / f"CheXpert-v1.0 batch {number} (train {number - 1})"
        folder.mkdir(exist_ok=True)
        shutil.move(small / "train" / f"patient0000{patient}", folder)
    assert len(chexpert_source(batches).manifest) == 6


def test_rows_of_an_image_that_contradict_each_other_are_refused(small):
    table = pd.read_csv(small / "train.csv")
    again = table[table["Path"].str.contains("patient00001")].iloc[:1].copy()
    again["Cardiomegaly"] = 1 - again["Cardiomegaly"].fillna(0)
    pd.concat([table, again]).to_csv(small / "train.csv", index=False)
    with pytest.raises(AttrinetError, match=f"train.csv .*two rows .* '{FIRST}'"):
        chexpert_source(small)


def test_what_is_left_out_is_counted_by_reason(small):
    source = chexpert_source(small)
    assert {k: v for k, v in source.excluded.items() if v} == {"duplicate row": 1, "lateral view": 2, "file missing": 1}
    ignoring = chexpert_source(small, blank="ignore")
    assert ignoring.excluded["no label"] == 1
    assert "patient00002_study1_view1_frontal" not in set(ignoring.manifest["id"])
    for found in (source, ignoring):
        assert len(found.manifest) + sum(found.excluded.values()) == len(TRAIN) + len(VALID)


@pytest.mark.parametrize("uncertain,want", [
    ("zeros", [0, 0, 0]), ("ones", [1, 1, 1]), ("ignore", [None, None, None]),
    ({"Atelectasis": "ones", "Edema": "ignore"}, [1, 0, None]),
])
@pytest.mark.parametrize("blank,effusion", [("zeros", 0), ("ignore", None)])
def test_uncertain_and_blank_follow_their_own_policies(small, uncertain, want, blank, effusion):
    source = chexpert_source(small, uncertain=uncertain, blank=blank)
    labels = row(source, FIRST)[["Atelectasis", "Consolidation", "Edema", "Cardiomegaly", "Pleural Effusion"]]
    assert [None if pd.isna(v) else int(v) for v in labels] == [*want, 1, effusion]
    assert source.options["uncertain"] == uncertain and source.options["blank"] == blank


@pytest.mark.parametrize("views,ids,reasons", [
    (("frontal", "lateral"), 9, {}),
    (("lateral",), 2, {"AP view": 3, "PA view": 3, "frontal view, neither AP nor PA": 1}),
    (("PA",), 3, {"lateral view": 2, "AP view": 3, "frontal view, neither AP nor PA": 1}),
    (("AP", "lateral"), 5, {"PA view": 3, "frontal view, neither AP nor PA": 1}),
])
def test_views_are_chosen_and_the_others_counted_by_view(small, views, ids, reasons):
    write_images(small, [MISSING])
    source = chexpert_source(small, views=views)
    assert {k: v for k, v in source.excluded.items() if v} == {"duplicate row": 1} | reasons
    assert len(source.manifest) == ids


def test_the_view_comes_from_the_columns_or_where_there_are_none_from_the_file_name(small, localize):
    source = chexpert_source(small, chexlocalize=localize, views=("frontal", "lateral"))
    views = source.manifest.set_index("id")["view"]
    assert views[FIRST] == "AP" and views["patient00003_study1_view1_frontal"] == "PA"
    assert views["patient00001_study1_view2_lateral"] == views["patient64741_study1_view2_lateral"] == "lateral"
    assert pd.isna(views["patient00004_study1_view1_frontal"]) and pd.isna(views["patient64741_study1_view1_frontal"])


def test_views_may_be_spelled_with_small_letters_and_spaces(small):
    write_images(small, [MISSING])
    want = chexpert_source(small, views=("PA", "lateral")).manifest
    table = pd.read_csv(small / "train.csv")
    table["Frontal/Lateral"] = table["Frontal/Lateral"].replace("Lateral", "LATERAL ").replace("Frontal", " frontal")
    table["AP/PA"] = table["AP/PA"].replace("PA", "pa ")
    table.to_csv(small / "train.csv", index=False)
    pd.testing.assert_frame_equal(chexpert_source(small, views=("PA", "lateral")).manifest, want)


def test_a_view_that_the_file_name_contradicts_names_its_line(small):
    table = pd.read_csv(small / "train.csv")
    table.loc[3, "Frontal/Lateral"] = "lateral"
    table.to_csv(small / "train.csv", index=False)
    with pytest.raises(AttrinetError, match="train.csv: line 5: Frontal/Lateral is 'lateral', but the file is called "
                                            "view1_frontal;"):
        chexpert_source(small)


def test_splits_are_the_official_ones_and_share_no_patient(small, localize):
    source = chexpert_source(small, chexlocalize=localize)
    split = source.manifest.groupby("patient")["split"].unique().map(list)
    assert split.map(len).max() == 1
    known = {"patient00001": "train", "patient64541": "valid", "patient64741": "test"}
    assert all(split[patient] == [name] for patient, name in known.items())
    assert row(source, "patient64541_study1_view1_frontal")["source"].startswith(str(small))
    shared = [("test/patient00002/study9/view1_frontal.jpg", *TEST[0][1:])]
    write_table(localize / "CheXpert" / "test_labels.csv", shared, "", views=False)
    with pytest.raises(AttrinetError, match="train.csv and .*test_labels.csv share 1 patients, 'patient00002'"):
        chexpert_source(small, chexlocalize=localize)


def test_without_chexlocalize_there_is_no_test_split_and_the_options_say_so(small, localize):
    source = chexpert_source(small)
    assert set(source.manifest["split"]) == {"train", "valid"} and source.annotations.empty
    assert "no test split" in source.options["labels"]["test"]
    assert chexpert_source(small, chexlocalize=localize).options["labels"]["test"].endswith("test_labels.csv")


def test_validation_images_are_taken_from_chexlocalize_where_root_lacks_them(small, localize):
    shutil.rmtree(small / "valid")
    (small / "valid.csv").unlink()
    with pytest.raises(AttrinetError, match=r"valid.csv: not found.*valid='train'"):
        chexpert_source(small)
    source = chexpert_source(small, chexlocalize=localize)
    assert row(source, "patient64541_study1_view1_frontal")["source"].startswith(str(localize / "CheXpert" / "val"))


def test_a_share_of_train_can_validate_and_then_the_official_validation_images_train(small, localize):
    rows = [(f"train/patient{k // 2:05d}/study{k % 2}/view1_frontal.jpg", *TRAIN[0][1:]) for k in range(200)]
    write_table(small / "train.csv", rows, "")
    write_images(small, [r[0] for r in rows])
    source = chexpert_source(small, chexlocalize=localize, valid="train", valid_fraction=0.1, seed=1)
    check(source)
    assert source.manifest.groupby("split")["patient"].nunique().to_dict() == {"test": 2, "train": 92, "valid": 10}
    assert row(source, "patient64541_study1_view1_frontal")["split"] == "train"
    again = chexpert_source(small, chexlocalize=localize, valid="train", valid_fraction=0.1, seed=2)
    assert (again.manifest["split"] != source.manifest["split"]).any()
    assert again.options["valid"] == {"from": "train", "fraction": 0.1, "seed": 2}


def test_prepare_leaves_out_what_cannot_be_read_and_names_it(small, localize, tmp_path):
    store = prepare(chexpert_source(small, chexlocalize=localize), tmp_path / "store", 64, progress=False)
    assert store.meta["excluded"] == {"duplicate row": 1, "lateral view": 3, "file missing": 1, "unreadable": 1}
    listed = pd.read_csv(tmp_path / "store" / "excluded.csv", dtype=str)
    assert listed["id"].iloc[-1] == "patient00003_study1_view1_frontal"
    assert listed["reason"].iloc[:-1].value_counts().to_dict() | {"unreadable": 1} == store.meta["excluded"]
    assert listed["id"][listed["reason"] == "lateral view"].str.endswith("_lateral").all()
    assert store.meta["intensity"] == "paper" and store.findings == FINDINGS and len(store) == 7


@pytest.mark.parametrize("keep_aspect", [False, True])
def test_a_lesion_drawn_at_full_size_lies_on_the_same_spot_of_a_smaller_image(small, localize, tmp_path, keep_aspect):
    source = chexpert_source(small, chexlocalize=localize)
    sizes = source.annotations[["source_width", "source_height"]].drop_duplicates()
    assert sizes.to_numpy().tolist() == [[WIDTH, HEIGHT]]
    store = prepare(source, tmp_path / "store", 80, keep_aspect=keep_aspect, progress=False)
    for id, finding in (("patient64541_study1_view1_frontal", 1), ("patient64741_study1_view1_frontal", 4)):
        k = list(store.ids).index(id)
        mask, bright = store.mask(k, finding), store.images[k] > 160
        assert 0.9 < mask.sum() / (80 * 80 * 144 / (1600 if keep_aspect else 1200)) < 1.1
        assert bright[binary_erosion(mask, iterations=2)].all()
        assert not bright[~binary_dilation(mask, iterations=2)].any()


def test_run_lengths_come_before_contours_and_what_is_not_used_is_counted(small, localize):
    source = chexpert_source(small, chexlocalize=localize)
    assert source.annotations[["id", "finding"]].to_numpy().tolist() == [
        ["patient64541_study1_view1_frontal", "Cardiomegaly"],
        ["patient64741_study1_view1_frontal", "Pleural Effusion"],
    ]
    account = source.options["annotations"]
    assert (account["masks"], account["contours"], len(account["files"])) == (1, 1, 4)
    assert account["left out"] == {"nothing drawn": 2, "finding not used": 1, "image not used": 1,
                                   "contours without image size": 1}
    json.dumps(source.options)


def test_chexlocalize_calls_lung_opacity_airspace_opacity(small, localize):
    source = chexpert_source(small, chexlocalize=localize, findings=["Lung Opacity"])
    assert source.annotations[["id", "finding"]].to_numpy().tolist() == [
        ["patient64541_study1_view1_frontal", "Lung Opacity"]]


def test_contours_and_their_run_lengths_agree(tmp_path):
    """Also several, overlapping and concave ones, and one that leaves the image."""
    angle = np.linspace(0, 2 * np.pi, 90)
    star = np.stack([150 + (60 + 30 * np.cos(5 * angle)) * np.cos(angle), 120 + 80 * np.sin(angle)], 1).tolist()
    contours = [star, LESION, [[350.5, 250.5], [450, 250], [450, 350]]]
    files = {}
    for kind, drawn in (("annotations", {"img_size": [HEIGHT, WIDTH], "Edema": contours}),
                        ("segmentations", {"Edema": segmentation(contours)})):
        write_json(tmp_path, **{f"gt_{kind}_val": {"a": drawn}})
        name = f"gt_{kind}_val.json"
        table, account = chexlocalize_annotations({name: tmp_path / name}, {"a"}, FINDINGS)
        assert account["contours" if kind == "annotations" else "masks"] == 1
        files[kind] = notes.rasterise(table, 64)
    np.testing.assert_array_equal(*files.values())
    inside = fill([LESION], HEIGHT, WIDTH)
    assert inside.sum() == 120 * 120 and inside[60:180, 120:240].all()
    both = fill(contours, HEIGHT, WIDTH)
    assert both[100, 200] and both[299, 399] and not both[10, 10]
    np.testing.assert_array_equal(both, np.logical_or.reduce([fill([c], HEIGHT, WIDTH) for c in contours]))


@pytest.mark.parametrize("inner", ["", "CheXlocalize", "CheXpert"])
def test_any_folder_of_the_download_will_do(localize, inner):
    assert len(chexlocalize_files(localize / inner)) == 6


@pytest.mark.parametrize("content,message", [
    ("{", "not a readable JSON"), ("[]", "want {image"),
    ('{"a": {"Edema": {"size": [9, 9], "counts": "zz"}}}', "'a', Edema"),
    ('{"a": {"Edema": {"counts": "123"}}}', "'a', Edema"), ('{"a": {"Edema": null}}', "'a', Edema"),
    ('{"a": {"Edema": {"size": [9, 9], "counts": [1, 80]}}}', "'a', Edema"),
])
def test_a_damaged_drawing_names_its_file_image_and_finding(tmp_path, content, message):
    path = tmp_path / "gt_segmentations_val.json"
    path.write_text(content)
    with pytest.raises(AttrinetError, match=f"gt_segmentations_val.json.*{message}"):
        chexlocalize_annotations({path.name: path}, {"a"}, FINDINGS)


@pytest.mark.parametrize("drawn", [[[[1, 2, 3]]], [[]], "x", [1], None, [[["1", "b"], [2, 3]]]])
def test_a_damaged_contour_names_its_file_image_and_finding(tmp_path, drawn):
    write_json(tmp_path, gt_annotations_val={"a": {"img_size": [9, 9], "Edema": drawn}})
    path = tmp_path / "gt_annotations_val.json"
    with pytest.raises(AttrinetError, match="gt_annotations_val.json: image 'a', Edema: not contours"):
        chexlocalize_annotations({path.name: path}, {"a"}, FINDINGS)


@pytest.mark.parametrize("options,message", [
    ({"findings": ["Effusion"]}, "findings: 'Effusion' is unknown; did you mean 'Pleural Effusion'"),
    ({"findings": []}, "at least one"),
    ({"views": ["front"]}, "did you mean 'frontal'"),
    ({"uncertain": "one"}, "did you mean 'ones'"),
    ({"uncertain": {"Oedema": "ones"}}, "did you mean 'Edema'"),
    ({"uncertain": {"Edema": "one"}}, "did you mean 'ones'"),
    ({"blank": "zero"}, "did you mean 'zeros'"),
    ({"valid": "random"}, "valid: 'random' is unknown"),
    ({"valid": "train", "valid_fraction": 1.5}, "valid_fraction=1.5"),
    ({"chexlocalize": "nowhere"}, "nowhere: no such folder"),
])
def test_a_wrong_option_is_named_with_the_nearest_right_one(small, options, message):
    with pytest.raises(AttrinetError, match=message):
        chexpert_source(small, **options)


def test_a_wrong_folder_or_table_is_named(small, localize, tmp_path):
    with pytest.raises(AttrinetError, match="train.csv in it .*found none"):
        chexpert_source(tmp_path / "chexlocalize")
    with pytest.raises(AttrinetError, match="has none of val_labels.csv"):
        chexpert_source(small, chexlocalize=small / "train")
    shutil.copytree(small, small.with_name("CheXpert-v1.0"))
    with pytest.raises(AttrinetError, match="several: CheXpert-v1.0, CheXpert-v1.0-small"):
        chexpert_source(small.parent)
    shutil.rmtree(small / "valid")
    with pytest.raises(AttrinetError, match="valid.csv: none of its 3 images .*patient64541/study1/view1_frontal.jpg"):
        chexpert_source(small)
    write_table(small / "valid.csv", [("valid/00001.jpg", *VALID[0][1:])], "")
    with pytest.raises(AttrinetError, match="valid.csv: line 2: Path 'valid/00001.jpg' is not"):
        chexpert_source(small)
    write_table(small / "valid.csv", [(*VALID[0][:3], "yes", *VALID[0][4:])], "")
    with pytest.raises(AttrinetError, match="valid.csv: line 2: column 'Atelectasis' holds 'yes'"):
        chexpert_source(small)
    (small / "valid.csv").write_text("Path,Edema\n")
    with pytest.raises(AttrinetError, match="valid.csv: no column 'Atelectasis'"):
        chexpert_source(small)


@pytest.fixture
def real_table(shared, tmp_path):
    """The published train.csv, and what plain reading of its lines says about it."""
    (tmp_path / "train.csv").write_bytes(gzip.decompress((shared / "data/tables/chexpert_train.csv.gz").read_bytes()))
    with open(tmp_path / "train.csv", newline="") as file:
        return tmp_path, list(csv.DictReader(file))


def test_the_published_training_table_is_read_whole(real_table, monkeypatch):
    root, lines = real_table
    assert len(lines) == 223_414  # Irvin et al., 2019: 223,414 training images
    frontal = [line for line in lines if line["Frontal/Lateral"] == "Frontal"]
    everywhere = {"_".join(line["Path"].split("/")[2:]).removesuffix(".jpg"): line["Path"] for line in lines}
    monkeypatch.setattr(chexpert, "image_files", lambda folder: everywhere)
    source = chexpert_source(root, uncertain="ignore", findings=LABELS, valid="train")
    check(source)
    assert len(source.manifest) == len(frontal) and source.excluded["lateral view"] == len(lines) - len(frontal)
    assert source.manifest["source"].tolist() == [line["Path"] for line in frontal]
    for finding in LABELS:
        labels = source.manifest[finding]
        assert labels.isna().sum() == sum(line[finding] == "-1.0" for line in frontal)
        assert (labels == 1).sum() == sum(line[finding] == "1.0" for line in frontal)
    share = source.manifest.groupby("split")["patient"].nunique()
    assert abs(share["valid"] / share.sum() - 0.02) < 1e-4


@pytest.fixture
def sample(shared):
    tables = shared / "data" / "tables"
    kinds = ("annotations", "segmentations")
    return {f"gt_{kind}_val.json": tables / f"chexlocalize_sample_{kind}.json" for kind in kinds}


def test_the_published_sample_of_chexlocalize_is_read_and_its_two_forms_agree(sample):
    ids = {"patient64541_study1_view1_frontal", "patient64542_study1_view1_frontal"}
    table, account = chexlocalize_annotations(sample, ids, LABELS)
    assert (account["masks"], account["contours"], account["left out"]) == (4, 0, {"nothing drawn": 16})
    assert sorted(table["finding"]) == ["Cardiomegaly", "Enlarged Cardiomediastinum", "Lung Opacity", "Support Devices"]
    name = "gt_annotations_val.json"
    drawn, account = chexlocalize_annotations({name: sample[name]}, ids, LABELS)
    assert (account["masks"], account["contours"]) == (0, 4)
    pairs = table.merge(drawn, on=["id", "finding", "source_width", "source_height"], suffixes=("", "_drawn"))
    assert len(pairs) == 4
    for pair in pairs.itertuples():
        size = (pair.source_height, pair.source_width)
        mask, contour = rle.decode(pair.rle, *size), rle.decode(pair.rle_drawn, *size)
        assert mask.sum() == coco.area({"size": size, "counts": pair.rle})
        assert contour[binary_erosion(mask, iterations=2)].all()
        assert not contour[~binary_dilation(mask, iterations=2)].any()


def test_the_published_validation_table_fits_its_drawings(shared, sample, tmp_path):
    table = shared / "data/tables/chexlocalize_sample_valid.csv"
    labels = chexpert.read_labels(table, "valid", LABELS, "zeros", "zeros").set_index("id")
    drawn, _ = chexlocalize_annotations(sample, set(labels.index), LABELS)
    assert len(drawn) == 4
    for lesion in drawn.itertuples():  # what was drawn is what was found
        assert labels.loc[lesion.id, lesion.finding] == 1


def test_the_command_line_does_the_same(small, localize, tmp_path):
    out = tmp_path / "store"
    arguments = ["prepare", "chexpert", small, "--chexlocalize", localize, "--out", out, "--size", 32, "--workers", 1,
                 "--quiet", "--findings", "Edema,Cardiomegaly", "--views", "AP,PA", "--uncertain", "Edema=ignore",
                 "--blank", "ignore", "--valid", "train", "--valid-fraction", 0.5, "--seed", 3]
    done = CliRunner().invoke(cli, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0 and "3 lateral view" in done.output
    store, findings = Store.open(out), ("Edema", "Cardiomegaly")
    source = chexpert_source(small, chexlocalize=localize, findings=findings, views=["AP", "PA"], valid="train",
                             uncertain={"Edema": "ignore"}, blank="ignore", valid_fraction=0.5, seed=3)
    assert store.findings == findings and store.meta["options"] == source.options
    assert set(store.ids) == set(source.manifest["id"]) - {"patient00003_study1_view1_frontal"}
    assert "chexpert" in CliRunner().invoke(cli, ["datasets"]).output
