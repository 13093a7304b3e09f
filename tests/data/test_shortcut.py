"""A spurious tag goes on exactly the images it should, where it should, and everything else stays as it was."""

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from attrinet.cli import cli
from attrinet.data.phantom import phantom_source
from attrinet.data.prepare import prepare
from attrinet.data.shortcut import Tag, shortcut_source, tag_region, tag_rows, tagged_with
from attrinet.data.store import Store
from attrinet.errors import AttrinetError

FINDING = "Cardiomegaly"


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return prepare(phantom_source(80, 64, seed=3), tmp_path_factory.mktemp("clean") / "store", 64, progress=False)


def contaminate(clean, folder, tag=None, finding=FINDING, **options):
    return prepare(shortcut_source(clean.path, finding, tag, **options), folder, clean.size, progress=False)


def test_half_of_the_positives_of_every_split_carry_the_tag_and_nobody_else(clean, tmp_path):
    store = contaminate(clean, tmp_path / "s")
    tagged = store.manifest["tagged"].to_numpy(bool)
    positive = store.manifest[FINDING].to_numpy() == 1
    assert not tagged[~positive].any()
    for split in ("train", "valid", "test"):
        rows = positive & (store.manifest["split"] == split).to_numpy()
        assert tagged[rows].sum() == round(rows.sum() / 2)
    np.testing.assert_array_equal(tag_rows(store), np.flatnonzero(tagged))


def test_only_the_tag_changes_an_image_and_it_is_black_text(clean, tmp_path):
    store = contaminate(clean, tmp_path / "s")
    tag, rows = tagged_with(store), tag_rows(store)
    others = np.setdiff1d(np.arange(len(store)), rows)
    np.testing.assert_array_equal(store.images[others], clean.images[others])
    region = tag_region(store)
    for row in rows:
        changed = store.images[row] != clean.images[row]
        assert changed.any() and not changed[~region].any()
        assert (store.images[row].astype(int) <= clean.images[row]).all()
        ink = tag.mask(64, row)
        assert store.images[row][ink].mean() < 0.75 * max(clean.images[row][ink].mean(), 1)


def test_the_papers_tag_stands_where_the_paper_puts_it():
    rows, columns = np.nonzero(Tag().cover(320, 0))
    assert 280 <= rows.min() <= 286 and rows.max() <= 300  # 18-pixel letters at y = 280
    assert 19 <= columns.min() <= 22 and 110 <= columns.max() <= 125  # nine letters from x = 20


@pytest.mark.parametrize("size", [64, 128, 320])
@pytest.mark.parametrize("kind", ["text", "marker", "border"])
def test_a_tag_covers_about_the_same_share_of_the_image_at_every_size(kind, size):
    want = Tag(kind).cover(320, 0).mean()
    assert Tag(kind).cover(size, 0).mean() == pytest.approx(want, rel=0.06)  # Pillow counts pixel centres
    assert 0 < Tag(kind).mask(size, 0).mean() < 0.12


def test_anywhere_puts_it_in_another_place_in_every_image_and_always_in_the_same(clean, tmp_path):
    tag = Tag("marker", place="anywhere", seed=5)
    places = {tuple(np.argwhere(tag.mask(64, row)).mean(0).round()) for row in range(20)}
    assert len(places) >= 18
    np.testing.assert_array_equal(tag.mask(64, 7), Tag("marker", place="anywhere", seed=5).mask(64, 7))
    store = contaminate(clean, tmp_path / "s", tag)
    assert tag_region(store) is None
    for row in tag_rows(store):
        assert store.images[row][tag.mask(64, row)].min() > 120


def test_labels_splits_annotations_and_how_files_are_read_stay(clean, tmp_path):
    store = contaminate(clean, tmp_path / "s")
    same = ["id", "patient", "split", *clean.findings]
    pd.testing.assert_frame_equal(store.manifest[same], clean.manifest[same])
    pd.testing.assert_frame_equal(store.annotations, clean.annotations)
    assert store.preprocessing == clean.preprocessing
    assert store.meta["options"]["checksum"] == clean.meta["checksum"]
    row = int(np.flatnonzero(clean.labels[:, 1] == 1)[0])
    np.testing.assert_array_equal(store.mask(row, 1), clean.mask(row, 1))


def test_any_degree_any_finding_and_negatives_too(clean, tmp_path):
    store = contaminate(clean, tmp_path / "s", finding="Edema", positives=1.0, negatives=0.25)
    tagged, edema = store.manifest["tagged"].to_numpy(bool), store.manifest["Edema"].to_numpy() == 1
    assert tagged[edema].all() and 0.2 < tagged[~edema].mean() < 0.3
    other = choice(clean, tmp_path / "t", 1)
    assert not np.array_equal(other, choice(clean, tmp_path / "u", 2))
    np.testing.assert_array_equal(other, choice(clean, tmp_path / "v", 1))


def choice(clean, folder, seed):
    return contaminate(clean, folder, seed=seed).manifest["tagged"].to_numpy(bool)


@pytest.mark.parametrize("change, message", [
    ({"finding": "Cardio"}, "no finding 'Cardio'"), ({"positives": 1.5}, "positives=1.5"),
    ({"positives": 0.0}, "no image would be tagged"),
])
def test_wrong_options_are_refused(clean, change, message):
    with pytest.raises(AttrinetError, match=message):
        shortcut_source(clean.path, **{"finding": FINDING, **change})


@pytest.mark.parametrize("tag, message", [
    ({"kind": "sticker"}, "text, marker, border"), ({"place": "left"}, "fixed or anywhere"), ({"text": " "}, "empty"),
])
def test_wrong_tags_are_refused(tag, message):
    with pytest.raises(AttrinetError, match=message):
        Tag(**tag)


@pytest.mark.parametrize("place, fits, cut", [("fixed", 27, 28), ("anywhere", 29, 30)])
def test_a_text_is_never_cut_at_the_edge(clean, place, fits, cut):
    shortcut_source(clean.path, FINDING, Tag(text="W" * fits, place=place))
    with pytest.raises(AttrinetError, match="'W+' would be cut: it is 3.. pixels wide .*; take a shorter one"):
        shortcut_source(clean.path, FINDING, Tag(text="W" * cut, place=place))


def test_a_text_for_a_tag_without_text_is_refused(clean, tmp_path):
    done = CliRunner().invoke(cli, ["prepare", "shortcut", str(clean.path), "--tag", "border", "--text", "CXR-ROOM1",
                                    "--out", str(tmp_path / "s")])
    assert isinstance(done.exception, AttrinetError) and not (tmp_path / "s").exists()
    assert "--text CXR-ROOM1: a border shows no text; leave it out, or choose --tag text" in str(done.exception)


def test_a_store_is_tagged_once(clean, tmp_path):
    contaminate(clean, tmp_path / "s")
    with pytest.raises(AttrinetError, match="already carries a tag"):
        shortcut_source(tmp_path / "s", FINDING)
    assert tagged_with(clean) is None and tag_region(clean) is None


def test_the_command_makes_the_store(clean, tmp_path):
    done = CliRunner().invoke(cli, ["prepare", "shortcut", str(clean.path), "--tag", "border", "--positives", "1",
                                    "--workers", "1", "--quiet", "--out", str(tmp_path / "s")])
    assert done.exit_code == 0, done.output
    store = Store.open(tmp_path / "s")
    assert f"tagged: {int((clean.labels[:, 1] == 1).sum())} images" in done.output
    assert (store.images[tag_rows(store)][:, 0, :] > 200).all()
