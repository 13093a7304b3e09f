"""Full and read-only disks, vanished and corrupted files, a clock that goes back: a named error, and nothing lost."""

import dataclasses
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from full_disk import TINY
from PIL import Image

from attrinet.data.images import read_grey
from attrinet.data.phantom import phantom_source
from attrinet.data.prepare import prepare
from attrinet.data.table import table_source
from attrinet.errors import AttrinetError
from attrinet.train import checkpoint
from attrinet.train.config import load_config
from attrinet.train.loop import train


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return prepare(phantom_source(60, 32, seed=1), tmp_path_factory.mktemp("data") / "store", 32, progress=False)


@pytest.fixture(scope="module")
def whole(store, tmp_path_factory):
    """An undisturbed run of six steps."""
    out = tmp_path_factory.mktemp("run") / "whole"
    train(config(store), out, progress=False)
    return out


def config(store, *overrides):
    return load_config(None, (f"data.store={store.path}", *TINY, *overrides))


def assert_same(a, b):
    names = ["metrics.jsonl", "best/model.safetensors", "best/thresholds.json"]
    for name in [*names, *(f"checkpoints/{p.name}" for p in checkpoint.checkpoints(a / "checkpoints"))]:
        assert (a / name).read_bytes() == (b / name).read_bytes(), name


def test_a_full_and_a_read_only_disk_are_named_and_with_room_again_nothing_was_lost(tmp_path):
    """On a real file system of a few kilobytes."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("this system lets no user mount a small file system of his own (unshare -rm)")
    done = subprocess.run(
        ["unshare", "-rm", sys.executable, Path(__file__).with_name("full_disk.py"), tmp_path], capture_output=True,
        text=True, timeout=600, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout)
    disk = str(tmp_path / "disk")
    for name in ("prepare, full", "train, full at the first checkpoint", "train, full at the third checkpoint"):
        assert disk in said[name] and "No space left" in said[name], said
    for name in ("prepare, read-only", "train, read-only"):
        assert disk in said[name] and "Read-only" in said[name], said
    for name, value in said.items():
        if "room again" in name:
            assert value == "done", said
        if name.startswith("same"):
            assert value is True, said


def test_an_image_that_vanishes_between_table_and_reading_is_listed_and_the_rest_is_there(tmp_path):
    (tmp_path / "png").mkdir()
    for k in range(6):
        Image.fromarray(np.eye(8, dtype=np.uint8) + 40 * np.uint8(k)).save(tmp_path / "png" / f"{k}.png")
    rows = [{"image": f"{k}.png", "patient": k, "Edema": k % 2} for k in range(6)]
    pd.DataFrame(rows).to_csv(tmp_path / "labels.csv", index=False)

    def vanishing(path):
        Path(tmp_path / "png" / "4.png").unlink(missing_ok=True)
        return read_grey(path)

    source = dataclasses.replace(table_source(tmp_path / "labels.csv", tmp_path / "png"), read=vanishing)
    made = prepare(source, tmp_path / "store", 32, progress=False)
    assert len(made) == 5 and made.meta["excluded"]["unreadable"] == 1
    listed = pd.read_csv(tmp_path / "store" / "excluded.csv", dtype=str)
    assert listed["id"].tolist() == ["4"] and "4.png: cannot be read (No such file" in listed["reason"][0]


@pytest.mark.parametrize("name", ["images.npy", "manifest.parquet", "annotations.parquet", "meta.json"])
def test_a_truncated_store_is_refused_by_name_before_a_run_folder_is_made(store, tmp_path, name):
    copy = tmp_path / "store"
    shutil.copytree(store.path, copy)
    (copy / name).write_bytes((copy / name).read_bytes()[:-100])
    with pytest.raises(AttrinetError, match=f"{copy}.*damaged"):
        train(load_config(None, (f"data.store={copy}", *TINY)), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name, harm", [("done.npy", "cut"), ("images.npy", "cut"), ("recipe.json", "cut"),
                                        ("done.npy", "gone"), ("images.npy", "gone"), ("done.npy", "other")])
def test_a_damaged_working_folder_of_prepare_is_named(tmp_path, name, harm):
    def stop(path):
        raise KeyboardInterrupt

    source = phantom_source(20, 32)
    with pytest.raises(KeyboardInterrupt):
        prepare(dataclasses.replace(source, read=stop), tmp_path / "s", 32, progress=False)
    path = tmp_path / "s.partial" / name
    if harm == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif harm == "gone":
        path.unlink()
    else:
        np.save(path, np.zeros(7, np.uint8))
    with pytest.raises(AttrinetError, match=r"s\.partial: what an earlier call left there.*delete this folder"):
        prepare(source, tmp_path / "s", 32, progress=False)


@pytest.mark.parametrize("place", ["header", "progress", "first weight", "last weight", "cut"])
def test_a_corrupted_checkpoint_is_named_and_the_one_before_leads_to_the_same_end(store, whole, tmp_path, place):
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    newest = checkpoint.checkpoints(out / "checkpoints")[-1]
    data = bytearray(newest.read_bytes())
    body = 8 + int.from_bytes(data[:8], "little")
    at = {"header": 20, "progress": data.index(b"best_auc") + 14, "first weight": body + 2,
          "last weight": len(data) - 2}
    if place == "cut":
        del data[len(data) * 2 // 3:]
    else:
        data[at[place]] ^= 1
    newest.write_bytes(data)
    with pytest.raises(AttrinetError, match=f"{newest.name}: a damaged checkpoint.*delete it"):
        train(config(store), out, resume=True, progress=False)
    newest.unlink()
    train(config(store), out, resume=True, progress=False)
    assert_same(whole, out)


def test_a_damaged_line_in_the_middle_of_the_log_is_not_dropped_silently(store, whole, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    lines = (out / "metrics.jsonl").read_text().splitlines()
    (out / "metrics.jsonl").write_text("\n".join([lines[0], lines[1][:9], *lines[2:]]) + "\n")
    with pytest.raises(AttrinetError, match=r"metrics\.jsonl: line 2 is damaged"):
        train(config(store, "schedule.steps=7"), out, resume=True, progress=False)


def test_a_clock_that_goes_back_changes_nothing(store, whole, tmp_path, monkeypatch):
    backwards = itertools.count()
    monkeypatch.setattr(time, "time", lambda: 1e9 - 3600 * next(backwards))
    train(config(store, "schedule.steps=3"), tmp_path / "run", progress=False)
    for path in (tmp_path / "run").rglob("*"):
        os.utime(path, (2e9, 2e9))  # all of it from the future
    train(config(store), tmp_path / "run", resume=True, progress=False)
    assert_same(whole, tmp_path / "run")
