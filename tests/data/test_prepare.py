"""A store holds what was read, whatever the number of workers and however often it was killed on the way."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from attrinet.data.images import read_image
from attrinet.data.phantom import phantom_source
from attrinet.data.prepare import CHUNK, prepare
from attrinet.data.store import Store
from attrinet.data.table import table_source
from attrinet.errors import AttrinetError


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


def test_what_is_left_out_is_counted_and_the_rest_is_what_read_image_gives(folder):
    store = prepare(source(folder), folder / "store", 32, progress=False)
    assert store.findings == ("Edema", "Effusion") and len(store) == 37
    assert store.meta["excluded"] == {"duplicate row": 1, "file missing": 1, "unreadable": 2}
    listed = pd.read_csv(folder / "store" / "excluded.csv")
    assert sorted(listed["id"]) == ["im06", "im07"] and listed["reason"].str.contains("png").all()
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
    phantoms = phantom_source(CHUNK * 21 + 5, 32)
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
import sys
from attrinet.data.phantom import phantom_source
from attrinet.data.prepare import prepare
prepare(phantom_source(400, 256, seed=3), sys.argv[1], 256, workers=2, progress=False)
"""


def test_killed_in_the_middle_the_same_call_goes_on_and_nothing_is_lost_or_doubled(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("if __name__ == '__main__':\n" + "".join(f"    {line}\n" for line in KILLED.split("\n")))
    marks = tmp_path / "store.partial" / "done.npy"
    process = subprocess.Popen([sys.executable, script, tmp_path / "store"])
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if (tmp_path / "store.partial" / "recipe.json").exists() and np.load(marks, mmap_mode="r").sum() >= 40:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "store").exists()
    with pytest.raises(AttrinetError, match="no store found"):
        Store.open(tmp_path / "store")
    done = int(np.load(marks).sum())
    assert 40 <= done < 400
    time.sleep(1.2)  # the workers see that their parent is gone
    source = phantom_source(400, 256, seed=3)
    resumed = prepare(source, tmp_path / "store", 256, workers=2, progress=False)
    whole = prepare(source, tmp_path / "whole", 256, workers=1, progress=False)
    assert resumed.meta["checksum"] == whole.meta["checksum"]
    assert not (tmp_path / "store.partial").exists()


def test_two_processes_cannot_prepare_the_same_store(tmp_path):
    from attrinet.data.prepare import locked

    with locked(tmp_path / "s.partial"), pytest.raises(AttrinetError, match="another process"), \
            locked(tmp_path / "s.partial"):
        pass


def test_a_store_that_was_tampered_with_is_found_out(tmp_path):
    prepare(phantom_source(8, 32), tmp_path / "s", 32, progress=False)
    images = np.load(tmp_path / "s" / "images.npy", mmap_mode="r+")
    images[3, 3, 3] ^= 1
    images.flush()
    with pytest.raises(AttrinetError, match="checksum"):
        Store.open(tmp_path / "s").verify()
    meta = json.loads((tmp_path / "s" / "meta.json").read_text())
    (tmp_path / "s" / "meta.json").write_text(json.dumps(meta | {"size": 64}))
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


def test_selecting_findings_keeps_images_and_order(tmp_path):
    store = prepare(phantom_source(8, 32), tmp_path / "s", 32, progress=False)
    part = store.select(["Edema", "Atelectasis"])
    np.testing.assert_array_equal(part.labels, store.labels[:, [3, 0]])
    with pytest.raises(AttrinetError, match="no finding 'Mass'"):
        store.select(["Mass"])
