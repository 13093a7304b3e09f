"""Guidance masks of a run come from the right annotations, in the asked number, and are left behind to be looked at."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from attrinet.data import annotations as notes
from attrinet.data.prepare import prepare
from attrinet.data.shortcut import Tag, shortcut_source
from attrinet.data.store import Store
from attrinet.errors import AttrinetError
from attrinet.guidance import MODES
from attrinet.train.config import load_config
from attrinet.train.guide import build_guidance
from attrinet.train.loop import train


def guide(store, *overrides):
    return build_guidance(load_config(None, overrides), store, store.split("train"))


def test_only_annotations_of_training_positives_are_used_and_as_many_as_asked(phantoms):
    guidance, annotated = guide(phantoms, "guidance.mode=pseudo-mask", "guidance.per_finding=3",
                                "guidance.counts={Edema: 1, Cardiomegaly: 0}")
    train_rows = phantoms.split("train")
    assert not annotated[np.setdiff1d(np.arange(len(phantoms)), train_rows)].any()
    counts = dict(zip(phantoms.findings, annotated.sum(0), strict=True))
    positives = (phantoms.labels[train_rows] == 1).sum(0)
    assert counts["Edema"] == 1 and counts["Cardiomegaly"] == 0
    assert all(counts[f] == min(3, positives[c]) for c, f in enumerate(phantoms.findings)
               if f not in ("Edema", "Cardiomegaly"))
    for c in range(5):
        rows = np.flatnonzero(annotated[:, c])
        if len(rows):
            union = np.any([phantoms.mask(r, c) for r in rows], axis=0)
            np.testing.assert_array_equal(guidance.class_masks[c], union)
    square = guidance.class_masks[1]
    assert square[1:-1, 1:-1].all() and square.mean() < 1  # a finding without annotations


def test_which_annotations_are_drawn_depends_on_the_seed_alone(phantoms):
    def drawn(seed):
        return guide(phantoms, "guidance.mode=mixed", "guidance.per_finding=4", f"run.seed={seed}")[1]

    np.testing.assert_array_equal(drawn(1), drawn(1))
    assert (drawn(1) != drawn(2)).any()


def test_the_pseudo_masks_of_table_1_are_rebuilt_from_the_published_boxes(shared):
    """Table 1, ChestX-ray8: 76 Atelectasis, 54 Cardiomegaly, 52 Effusion, none of Consolidation and Edema."""
    boxes = pd.read_csv(shared / "data/tables/BBox_List_2017.csv.gz").iloc[:, :6]
    boxes.columns = ["id", "finding", "x", "y", "w", "h"]
    findings = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion")
    boxes = boxes[boxes["finding"].isin(findings)]
    ids = sorted(set(boxes["id"]))
    pairs = set(zip(boxes["id"], boxes["finding"], strict=True))
    manifest = pd.DataFrame({"id": ids, "source": ids, "patient": ids, "split": "train", "view": "PA",
                             **{f: pd.array([int((i, f) in pairs) for i in ids], dtype="Int8") for f in findings}})
    table = notes.table([notes.box_row(b.id, b.finding, b.x, b.y, b.w, b.h, 1024, 1024) for b in boxes.itertuples()])
    store = Store(shared, np.zeros((len(ids), 320, 320), np.uint8), findings, {"keep_aspect": False})
    store.manifest, store.annotations = manifest, table
    guidance, annotated = guide(store, "guidance.mode=mixed",
                                "guidance.counts={Atelectasis: 76, Cardiomegaly: 54, Effusion: 52}")
    assert annotated.sum(0).tolist() == [76, 54, 0, 0, 52]
    assert Counter(boxes["finding"])["Effusion"] == 153  # Wang et al., CVPR 2017
    for c in (0, 1, 4):
        hand = np.zeros((320, 320), bool)
        for row in np.flatnonzero(annotated[:, c]):
            for b in boxes[(boxes["id"] == ids[row]) & (boxes["finding"] == findings[c])].itertuples():
                x0, y0, x1, y1 = (v * 320 / 1024 for v in (b.x, b.y, b.x + b.w, b.y + b.h))
                centers = np.arange(320) + 0.5
                hand |= np.outer((centers >= y0) & (centers < y1), (centers >= x0) & (centers < x1))
        np.testing.assert_array_equal(guidance.class_masks[c] > 0, hand)
    for c in (2, 3):
        assert guidance.class_masks[c].sum() == 300 * 300  # no boxes: the centred square


def test_a_users_own_masks_say_look_only_here(phantoms, tmp_path):
    left = np.zeros((64, 64), np.uint8)
    left[:, :32] = 255
    Image.fromarray(left).save(tmp_path / "left.png")
    np.save(tmp_path / "half.npy", np.full((8, 8), 0.5))
    guidance, annotated = guide(phantoms, "guidance.mode=given",
                                f"guidance.masks={{Edema: {tmp_path}/left.png, Consolidation: {tmp_path}/half.npy}}")
    assert guidance.class_masks[3][:, :16].all() and not guidance.class_masks[3][:, 16:].any()
    assert (guidance.class_masks[2] == 0.5).all() and not annotated.any()


@pytest.mark.parametrize("option, message", [
    ("guidance.masks={Edema: nowhere.png}", "nowhere.png"), ("guidance.masks={Oedema: x.png}", "Oedema"),
    ("guidance.counts={Oedema: 3}", "guidance.counts: 'Oedema'"), ("guidance.mode=boxes", "boxes"),
    ("guidance.mode=shortcut", "prepare shortcut"),
])
def test_what_cannot_guide_is_refused_by_name(phantoms, option, message):
    with pytest.raises(AttrinetError, match=message):
        guide(phantoms, "guidance.mode=given", option)


@pytest.mark.parametrize("mode", ["full", "box-only"])
def test_modes_that_guide_annotated_images_alone_need_some(phantoms, mode):
    bare = phantoms.select(phantoms.findings)
    bare.annotations = phantoms.annotations.iloc[:0]
    with pytest.raises(AttrinetError, match=f"guidance.mode={mode} needs annotated images"):
        guide(bare, f"guidance.mode={mode}")
    with pytest.warns(UserWarning, match="no training image .* guidance.mode=mixed guides onto the centred square"):
        assert not guide(bare, "guidance.mode=mixed")[1].any()


def test_an_annotation_without_a_pixel_is_none(phantoms, monkeypatch):
    blank = phantoms.select(phantoms.findings)
    real = phantoms.mask
    monkeypatch.setattr(blank, "mask", lambda row, finding: real(row, finding) & (finding != 2))
    guidance, annotated = guide(blank, "guidance.mode=mixed")
    assert annotated.sum(0)[2] == 0 and (np.delete(annotated.sum(0), 2) > 0).all()
    assert guidance.class_masks[2].any()  # the centred square, as of a finding without annotations


def test_a_mask_file_that_allows_nothing_is_refused(phantoms, tmp_path):
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "black.png")
    np.save(tmp_path / "empty.npy", np.zeros((0, 5)))
    for name in ("black.png", "empty.npy"):
        with pytest.raises(AttrinetError, match=f"{name}: a guidance mask is a 2-D image"):
            guide(phantoms, "guidance.mode=given", f"guidance.masks={{Edema: {tmp_path}/{name}}}")


def test_settings_of_guidance_without_a_mode_are_named(phantoms):
    with pytest.warns(UserWarning, match=r"guidance\.masks, guidance\.per_finding guides nothing without a mode"):
        assert guide(phantoms, "guidance.masks={Edema: nowhere.png}", "guidance.per_finding=3")[0] is None


@pytest.mark.parametrize("mode, option", [
    ("full", "guidance.masks={Edema: MASK}"), ("box-only", "guidance.center_square=0.5"),
    ("given", "guidance.per_finding=3"), ("given", "guidance.counts={Edema: 3}"),
    ("given", "guidance.annotated_rate=0.2"),
])
def test_an_option_that_a_mode_does_not_read_is_named(phantoms, mode, option, tmp_path):
    np.save(tmp_path / "mask.npy", np.eye(9))
    with pytest.warns(UserWarning, match=f"guidance.mode={mode}: does not read {option.split('=')[0]}$"):
        guidance, annotated = guide(phantoms, f"guidance.mode={mode}", option.replace("MASK", f"{tmp_path}/mask.npy"))
    plain, chosen = guide(phantoms, f"guidance.mode={mode}")
    np.testing.assert_array_equal(annotated, chosen)
    rows = phantoms.split("train")
    for c in range(len(phantoms.findings)):
        (masks, used), (other, as_much) = (g.masks(rows, c) for g in (guidance, plain))
        np.testing.assert_array_equal(used, as_much)
        np.testing.assert_array_equal(masks[used], other[used])


def test_the_shortcut_mode_leaves_the_tag_out_for_every_finding(phantoms, tmp_path):
    store = prepare(shortcut_source(phantoms.path, "Cardiomegaly", Tag("marker"), positives=1.0), tmp_path / "s",
                    phantoms.size, progress=False)
    guidance, annotated = guide(store, "guidance.mode=shortcut")
    ink = Tag("marker").cover(store.size, 0) > 0
    for c in range(5):
        assert not guidance.class_masks[c][ink].any() and guidance.class_masks[c].mean() > 0.7
    assert not annotated.any()


@pytest.mark.parametrize("mode", [m for m in MODES if m not in ("none", "shortcut")])
def test_every_mode_trains_and_leaves_its_masks_in_the_run_folder(config, phantoms, tmp_path, mode):
    out = tmp_path / "run"
    train(config(f"guidance.mode={mode}", "schedule.steps=2", "schedule.burst=0", "run.validate_every=2"), out,
          progress=False)
    masks = np.load(out / "guidance" / "masks.npz", allow_pickle=False)
    assert sorted(masks) == sorted(phantoms.findings) and masks["Edema"].shape == (phantoms.size,) * 2
    used = pd.read_csv(out / "guidance" / "images.csv")
    assert set(used["finding"]) <= set(phantoms.findings) and (len(used) > 0) == (mode != "given")
    with Image.open(out / "guidance" / "masks.png") as picture:
        assert picture.width == 5 * 256
    guidance, _ = build_guidance(config(f"guidance.mode={mode}"), phantoms, phantoms.split("train"))
    for c, name in enumerate(phantoms.findings):
        np.testing.assert_array_equal(masks[name], guidance.class_masks[c])
