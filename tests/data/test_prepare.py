"""A store holds what was read, whatever the number of workers and however often it was killed on the way."""

import dataclasses
import errno
import fcntl
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from attrinet.cli import cli
from attrinet.data.images import read_grey, read_image
from attrinet.data.phantom import phantom_source
from attrinet.data.prepare import CHUNK, prepare
from attrinet.data.store import Store
from attrinet.data.table import table_source
from attrinet.errors import AttrinetError

FILES = ["annotations.parquet", "excluded.csv", "images.npy", "manifest.parquet", "meta.json"]


@pytest.fixture
def folder(tmp_path):
    """Forty images, of which one is missing, one empty and one cut short; labels and boxes for them."""
    random = np.random.default_rng(0)
    (tmp_path / "png").mkdir()
    rows = []
    for k in range(40):
        name = f"im{k:02d}.png"
        Image.fromarray(random.integers(0, 256, (50, 40), dtype=np.uint8)).save(tmp_path / "png" / name)
        rows.append({"image": name, "patient": k // 2, "Edema": k % 2, "Effusion": -1 if k == 3 else int(k % 3 == 0)})
    (tmp_path / "png" / "im05.png").unlink()
    (tmp_path / "png" / "im06.png").write_bytes(b"")
    whole = (tmp_path / "png" / "im07.png").read_bytes()
    (tmp_path / "png" / "im07.png").write_bytes(whole[: len(whole) // 2])
    pd.DataFrame([*rows, rows[0]]).to_csv(tmp_path / "labels.csv", index=False)
    pd.DataFrame([
        {"image": "im01.png", "finding": "Edema", "x": 10, "y": 10, "w": 20, "h": 25},
        {"image": "im01.png", "finding": "Edema", "x": 30, "y": 40, "w": 90, "h": 90},
        {"image": "im07.png", "finding": "Edema", "x": 1, "y": 1, "w": 2, "h": 2},
        {"image": "im01.png", "finding": "Mass", "x": 1, "y": 1, "w": 2, "h": 2},
    ]).to_csv(tmp_path / "boxes.csv", index=False)
    return tmp_path


def source(folder, **options):
    return table_source(folder / "labels.csv", folder / "png", boxes=folder / "boxes.csv", **options)


def test_an_image_of_one_value_is_left_out(folder):
    Image.new("L", (40, 50), 7).save(folder / "png" / "im08.png")
    store = prepare(source(folder), folder / "store", 32, progress=False)
    assert "im08" not in store.ids and store.meta["excluded"]["unreadable"] == 3
    assert "im08.png: all pixels have one value, 7" in (folder / "store" / "excluded.csv").read_text()


def test_a_link_to_another_disk_is_followed(folder):
    (folder / "disk").mkdir()
    (folder / "link").symlink_to(folder / "disk")
    store = prepare(source(folder), folder / "link", 32, progress=False)
    assert len(store) == 37 and (folder / "link").is_symlink() and (folder / "disk" / "meta.json").exists()
    assert len(prepare(source(folder), folder / "link", 32, progress=False)) == 37


def test_a_place_where_no_store_can_be_put_is_refused_before_any_image_is_read(folder, monkeypatch):
    broken = dataclasses.replace(source(folder), read=None)
    (folder / "file").touch()
    with pytest.raises(AttrinetError, match="file: is a file"):
        prepare(broken, folder / "file", 32, progress=False)
    (folder / "disk").mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path).name == "disk")
    with pytest.raises(AttrinetError, match="disk: is a mounted disk; name a folder on it"):
        prepare(broken, folder / "disk", 32, progress=False)


def test_names_that_are_not_utf_8_are_refused_in_words(folder):
    images = os.fsdecode(bytes(folder) + b"/M\xfcller")
    shutil.move(folder / "png", images)
    with pytest.raises(AttrinetError, match=r"udcfcller.*is not UTF-8; rename"):
        table_source(folder / "labels.csv", images)


def test_a_disk_that_knows_no_locks_is_not_taken_for_another_process(folder, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(AttrinetError, match="cannot be held against other processes .Function not implemented"):
        prepare(source(folder), folder / "store", 32, progress=False)


def test_what_is_left_out_is_counted_and_the_rest_is_what_read_image_gives(folder):
    store = prepare(source(folder), folder / "store", 32, progress=False)
    assert store.findings == ("Edema", "Effusion") and len(store) == 37
    assert store.meta["excluded"] == {"duplicate row": 1, "file missing": 1, "unreadable": 2}
    listed = pd.read_csv(folder / "store" / "excluded.csv")
    assert listed["id"].tolist() == ["im05.png", "im00.png", "im06", "im07"]
    assert listed["reason"].tolist()[:2] == ["line 7: file missing", "line 42: duplicate row"]
    assert listed["reason"][2:].str.contains("png").all()
    for row in (0, 5, 36):
        want = read_image(store.manifest["source"][row], size=32)
        assert (store.batch([row]) == want).all()
    assert set(store.annotations["id"]) == {"im01"}
    row = list(store.ids).index("im01")
    assert store.mask(row, 0).any() and store.mask(row, 1) is None and store.mask(0, 0) is None
    store.verify()


def test_patients_stay_together_and_uncertain_follows_its_policy(folder):
    store = prepare(source(folder, uncertain={"Effusion": "ignore"}), folder / "store", 32, progress=False)
    assert store.manifest.groupby("patient")["split"].nunique().max() == 1
    row = list(store.ids).index("im03")
    assert np.isnan(store.labels[row, 1]) and store.labels[row, 0] == 1


def test_workers_change_nothing(tmp_path):
    """More chunks than four a worker, so that the queue is filled again and again."""
    phantoms = phantom_source(CHUNK * 10 + 5, 32)
    one = prepare(phantoms, tmp_path / "one", 32, workers=1, progress=False)
    two = prepare(phantoms, tmp_path / "two", 32, workers=2, progress=False)
    assert (tmp_path / "one/images.npy").read_bytes() == (tmp_path / "two/images.npy").read_bytes()
    assert one.meta["checksum"] == two.meta["checksum"] and len(np.unique(one.images.reshape(len(one), -1), axis=0)) \
        == len(one)


def test_a_second_call_does_nothing_and_other_options_are_refused(folder):
    first = prepare(source(folder), folder / "store", 32, progress=False)
    before = os.stat(folder / "store" / "images.npy").st_mtime_ns
    again = prepare(source(folder), folder / "store", 32, progress=False)
    assert os.stat(folder / "store" / "images.npy").st_mtime_ns == before and again.meta == first.meta
    with pytest.raises(AttrinetError, match="size: 32 there, 64 asked for"):
        prepare(source(folder), folder / "store", 64, progress=False)


KILLED = """
import dataclasses, sys, time
from pathlib import Path
from attrinet.data.images import read_grey
from attrinet.data.prepare import prepare
from attrinet.data.table import table_source

def slowly(path):
    time.sleep(0.03)
    return read_grey(path)

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    source = table_source(folder / "labels.csv", folder / "png", boxes=folder / "boxes.csv")
    prepare(dataclasses.replace(source, read=slowly), folder / "store", 64, workers=2, progress=False)
"""


def many(folder, count):
    """The folder's files, some of them bad, under many more names."""
    rows = []
    for k in range(count):
        copy, original = folder / "png" / f"copy{k}.png", folder / "png" / f"im{k % 40:02d}.png"
        if original.exists():
            copy.write_bytes(original.read_bytes())
        rows.append({"image": copy.name, "patient": k, "Edema": k % 2})
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    boxes = pd.read_csv(folder / "boxes.csv")
    boxes.assign(image=boxes["image"].str.replace("im0", "copy")).to_csv(folder / "boxes.csv", index=False)
    return source(folder)


def test_killed_in_the_middle_the_same_call_goes_on_and_nothing_is_lost_or_doubled(folder):
    (folder / "script.py").write_text(KILLED)
    images, marks = many(folder, 400), folder / "store.partial" / "done.npy"
    process = subprocess.Popen([sys.executable, folder / "script.py", folder])
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if (folder / "store.partial" / "recipe.json").exists() and (np.load(marks, mmap_mode="r") > 0).sum() >= 40:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "store").exists()
    with pytest.raises(AttrinetError, match="no store found"):
        Store.open(folder / "store")
    assert 40 <= (np.load(marks) > 0).sum() < len(images.manifest)
    time.sleep(1.2)  # the workers see that their parent is gone
    resumed = prepare(images, folder / "store", 64, workers=1, progress=False)
    same_as_undisturbed(images, folder, resumed)


def same_as_undisturbed(images, folder, store):
    whole = prepare(images, folder / "whole", 64, workers=1, progress=False)
    store.verify()
    assert {k: store.meta[k] for k in store.meta if k != "recipe"} \
        == {k: whole.meta[k] for k in whole.meta if k != "recipe"}
    assert (folder / "store/excluded.csv").read_text() == (folder / "whole/excluded.csv").read_text()
    assert sorted(p.name for p in (folder / "store").iterdir()) == FILES
    assert not (folder / "store.partial").exists()


def test_half_written_rows_and_lines_are_written_again(folder):
    images, read = many(folder, 120), []

    def until_stopped(path):
        read.append(path)
        if len(read) > 70:
            raise KeyboardInterrupt
        return read_grey(path)

    with pytest.raises(KeyboardInterrupt):
        prepare(dataclasses.replace(images, read=until_stopped), folder / "store", 64, progress=False)
    done = np.load(folder / "store.partial/done.npy")
    assert 0 < (done > 0).sum() <= 70
    rows = np.load(folder / "store.partial/images.npy", mmap_mode="r+")
    rows[done == 0] = 99
    rows.flush()
    with open(folder / "store.partial/errors.jsonl", "a") as file:
        file.write('[5, "cut in the mid')
    resumed = prepare(images, folder / "store", 64, progress=False)
    same_as_undisturbed(images, folder, resumed)


def test_images_that_were_mended_are_read_when_the_same_call_goes_on(folder):
    names = [path.name for path in sorted((folder / "png").iterdir())]
    pictures = {name: (folder / "png" / name).read_bytes() for name in names}
    for name in names:
        (folder / "png" / name).write_bytes(b"")
    images = table_source(folder / "labels.csv", folder / "png")
    with pytest.raises(AttrinetError, match="none of 39 images could be read"):
        prepare(images, folder / "store", 32, progress=False)
    for name, picture in pictures.items():
        (folder / "png" / name).write_bytes(picture)
    resumed = prepare(images, folder / "store", 32, progress=False)
    assert len(resumed) == 37 and len(pd.read_csv(folder / "store" / "excluded.csv")) == 4
    np.testing.assert_array_equal(resumed.images, prepare(images, folder / "whole", 32, progress=False).images)


@pytest.mark.parametrize("step", ["checksum", "counts", "_close_gaps"])
def test_stopped_while_finishing_it_finishes_the_next_time(folder, monkeypatch, step):
    """Also between closing the gaps of unreadable images and the end, when rows have moved."""
    images = many(folder, 60)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(f"attrinet.data.prepare.{step}", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        prepare(images, folder / "store", 64, progress=False)
    resumed = prepare(images, folder / "store", 64, progress=False)
    same_as_undisturbed(images, folder, resumed)


def test_a_store_takes_the_room_of_its_pixels_and_its_tables(tmp_path):
    n = 5
    store = prepare(phantom_source(n, 320), tmp_path / "s", 320, progress=False)
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "s").iterdir()}
    assert sorted(sizes) == FILES and sizes["images.npy"] == 128 + n * 102_400 == 128 + n * store.size**2
    assert sum(sizes.values()) - sizes["images.npy"] < 30_000 + 1_000 * n


def test_opening_reads_no_table_and_no_image(tmp_path):
    """A store of 112,120 images, nearly all of it a hole in the file: nothing of it may be touched."""
    prepare(phantom_source(4, 32), tmp_path / "s", 32, progress=False)
    manifest = pd.read_parquet(tmp_path / "s/manifest.parquet")
    manifest.iloc[np.arange(112_120) % 4].to_parquet(tmp_path / "s/manifest.parquet", index=False)
    with open(tmp_path / "s/images.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (112_120, 32, 32)})
        file.truncate(file.tell() + 112_120 * 32 * 32)
    tracemalloc.start()
    store = Store.open(tmp_path / "s")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(store) == 112_120 and peak < 1_000_000 and not {"manifest", "annotations"} & set(vars(store))
    assert len(store.manifest) == 112_120


def test_two_processes_cannot_prepare_the_same_store(tmp_path):
    from attrinet.files import held

    with held(tmp_path / "s.partial", "is at it"), pytest.raises(AttrinetError, match="another process is at it"), \
            held(tmp_path / "s.partial", "is at it"):
        pass


@pytest.mark.parametrize("name", ["images.npy", "manifest.parquet", "annotations.parquet"])
def test_one_changed_byte_is_found_without_the_source(tmp_path, name):
    prepare(phantom_source(8, 32), tmp_path / "s", 32, progress=False)
    done = CliRunner().invoke(cli, ["prepare", "verify", str(tmp_path / "s")], catch_exceptions=False)
    assert done.exit_code == 0 and "8 images and their tables, every byte as written" in done.output
    data = bytearray((tmp_path / "s" / name).read_bytes())
    data[200] ^= 1  # behind the header of the one, before the footer of the others
    (tmp_path / "s" / name).write_bytes(data)
    with pytest.raises(AttrinetError, match=rf"{name}: its checksum"):
        Store.open(tmp_path / "s").verify()
    with pytest.raises(AttrinetError, match=rf"{name}: its checksum"):
        CliRunner().invoke(cli, ["prepare", "verify", str(tmp_path / "s")], catch_exceptions=False)


def test_files_that_do_not_fit_together_are_not_opened(tmp_path):
    prepare(phantom_source(8, 32), tmp_path / "s", 32, progress=False)
    meta = json.loads((tmp_path / "s" / "meta.json").read_text())
    (tmp_path / "s" / "meta.json").write_text(json.dumps(meta | {"size": 64}))
    with pytest.raises(AttrinetError, match="damaged"):
        Store.open(tmp_path / "s")
    (tmp_path / "s" / "meta.json").write_text(json.dumps(meta))
    whole = (tmp_path / "s" / "manifest.parquet").read_bytes()
    (tmp_path / "s" / "manifest.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AttrinetError, match="damaged"):
        Store.open(tmp_path / "s")


def test_nothing_readable_is_an_error_that_shows_the_first_reason(folder):
    for path in (folder / "png").iterdir():
        path.write_bytes(b"")
    with pytest.raises(AttrinetError, match="none of 39 images could be read.*is empty"):
        prepare(source(folder), folder / "store", 32, progress=False)


def test_a_folder_that_is_no_store_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(AttrinetError, match="is no store"):
        prepare(phantom_source(4, 32), tmp_path / "mine", 32, progress=False)
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep"


def test_the_truth_is_what_images_are_judged_by_wherever_their_files_are(folder, tmp_path):
    def made(name, **options):
        return prepare(source(folder, **options), tmp_path / name, 16, progress=False)

    store = made("a")
    rows = np.arange(5)
    assert made("b").truth(rows) == store.truth(rows) == store.select(["Edema"]).truth(rows)
    assert len({store.truth(rows), store.truth(rows + 1), store.truth(rows[::-1]), store.truth(rows[:0])}) == 4
    policies = {made(policy, uncertain=policy).truth(np.arange(len(store))) for policy in ("zeros", "ones", "ignore")}
    assert len(policies) == 3
    boxes = Store.open(store.path)
    boxes.annotations = boxes.annotations.iloc[:0]
    assert len(store.annotations) and boxes.truth(np.arange(len(store))) != store.truth(np.arange(len(store)))


def test_a_pickled_store_maps_the_same_images_and_copies_none(tmp_path):
    store = prepare(phantom_source(8, 32), tmp_path / "s", 32, progress=False).select(["Edema", "Cardiomegaly"])
    packed = pickle.dumps(store)
    again = pickle.loads(packed)
    assert len(packed) < 1000 and isinstance(again.images, np.memmap)
    assert again.findings == store.findings and np.array_equal(again.images, store.images)
    assert np.array_equal(again.labels, store.labels, equal_nan=True)


def test_selecting_findings_keeps_images_and_order(tmp_path):
    store = prepare(phantom_source(8, 32), tmp_path / "s", 32, progress=False)
    part = store.select(["Edema", "Atelectasis"])
    np.testing.assert_array_equal(part.labels, store.labels[:, [3, 0]])
    with pytest.raises(AttrinetError, match="no finding 'Mass'; .*; use one of these, or prepare another store"):
        store.select(["Mass"])


@pytest.fixture
def tampered(tmp_path):
    """A store whose meta.json a function has changed."""
    prepare(phantom_source(8, 32, seed=3), tmp_path / "s", 32, progress=False)

    def change(how):
        meta = json.loads((tmp_path / "s" / "meta.json").read_text())
        how(meta)
        (tmp_path / "s" / "meta.json").write_text(json.dumps(meta))
        return tmp_path / "s"

    return change


@pytest.mark.parametrize("name", ["size", "findings", "intensity", "keep_aspect", "checksum"])
def test_a_store_that_lacks_a_fact_is_refused_when_it_is_opened(tampered, name):
    with pytest.raises(AttrinetError, match=f"meta.json: has no '{name}'; the store is damaged"):
        Store.open(tampered(lambda meta: meta.pop(name)))


@pytest.mark.parametrize("tables", [{"manifest.parquet": "0"}, {"../../secret": "0"}, None, ["manifest.parquet"]])
def test_verify_reads_the_tables_of_a_store_and_no_other_file(tampered, tables):
    store = Store.open(tampered(lambda meta: meta.update(tables=tables)))
    with pytest.raises(AttrinetError, match="no checksums of the tables"):
        store.verify()


def test_a_damaged_lesion_mask_names_the_file(tampered):
    path = tampered(lambda meta: None)
    table = pd.read_parquet(path / "annotations.parquet")
    assert len(table)
    table["rle"] = "\x00"
    table.to_parquet(path / "annotations.parquet")
    store = Store.open(path)
    with pytest.raises(AttrinetError, match=r"annotations\.parquet: annotation of image"):
        for row in range(len(store)):
            for c in range(len(store.findings)):
                store.mask(row, c)


@pytest.mark.parametrize("made, begun", [("store", False), ("store/images", False), ("store.partial", True),
                                         ("store/recipe.json", True)])
def test_only_what_prepare_began_is_called_a_store_in_preparation(tmp_path, made, begun):
    (tmp_path / made).mkdir(parents=True)
    with pytest.raises(AttrinetError, match="store: no store found") as refused:
        Store.open(tmp_path / "store")
    assert ("being prepared" in str(refused.value)) == begun


@pytest.mark.parametrize("out", [".", "..", "a/.."])
def test_a_store_needs_a_name(tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AttrinetError, match="--out .*: name a folder to make"):
        prepare(phantom_source(5, 32, seed=0), out, 32, progress=False)
    assert not list(tmp_path.iterdir())


def test_a_store_of_another_size_is_refused_though_its_source_has_a_size_too(tmp_path):
    source = phantom_source(4, 64, seed=0)
    prepare(source, tmp_path / "s", 32, progress=False)
    with pytest.raises(AttrinetError, match="size: 32 there, 48 asked for"):
        prepare(source, tmp_path / "s", 48, progress=False)
