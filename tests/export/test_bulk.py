"""A whole split is explained once, by whoever comes, whatever happens in between."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from attrinet import AttrinetError, load, save_model
from attrinet.cli import cli
from attrinet.export.bulk import Bulk, begin, explain_store, held
from attrinet.export.shard import stream_npz
from radiographs import SIZE

FINDINGS = ("Edema", "Cardiomegaly")
SCRIPT = """
import sys, time
from pathlib import Path
from attrinet.data.store import Store
from attrinet.export.bulk import Bulk, explain_store
read = Store.batch
def slow(self, rows, device="cpu"):
    time.sleep(0.2)
    return read(self, rows, device)
Store.batch = slow
if __name__ == "__main__":
    model, store, out, workers = sys.argv[1:]
    bulk = Bulk(Path(model), Path(store), "test", Path(out), per_shard=4, batch=2)
    print(explain_store(bulk, workers=int(workers), progress=False))
"""


@pytest.fixture
def bulk(phantom_model, store, tmp_path):
    return Bulk(phantom_model, store.path, "test", tmp_path / "out", per_shard=4, batch=2)


@pytest.fixture(scope="module")
def undisturbed(phantom_model, store, tmp_path_factory):
    bulk = Bulk(phantom_model, store.path, "test", tmp_path_factory.mktemp("undisturbed"), per_shard=4, batch=2)
    explain_store(bulk, progress=False)
    return contents(bulk.out)


def contents(folder):
    """Name → bytes of everything a reader of the folder sees."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*"))
            if p.is_file() and not p.name.startswith(".")}


def test_the_command_explains_every_image_of_the_split(phantom_model, store, tmp_path):
    out = tmp_path / "out"
    done = CliRunner().invoke(cli, ["explain-store", str(phantom_model), "--store", str(store.path), "--out", str(out),
                                    "--quiet"])
    assert done.exit_code == 0 and "(1 shard)" in done.output, done.output
    rows, model = store.split("test"), load(phantom_model)
    saved = np.load(out / "contributions/00000.npz", allow_pickle=False)
    assert saved["ids"].tolist() == store.ids[rows].tolist() and saved["findings"].tolist() == list(FINDINGS)
    want = model.explain(store.batch(rows))
    np.testing.assert_allclose(saved["contributions"], want.contributions, atol=1e-6)
    table = pd.read_parquet(out / "predictions")
    assert list(table["id"].unique()) == store.ids[rows].tolist() and len(table) == 2 * len(rows)
    np.testing.assert_allclose(table["probability"], want.probabilities.flatten(), atol=1e-5)
    assert table["called"].tolist() == want.called.flatten().tolist()
    assert table["label"].astype(float).tolist() == store.select(FINDINGS).labels[rows].ravel().tolist()
    total = saved["bias"] + saved["contributions"].sum((2, 3), dtype=np.float64)
    np.testing.assert_allclose(total.ravel(), table["logit"], atol=1e-5)


def test_all_shards_are_there_and_the_folder_reads_as_one_table(undisturbed, store):
    count = len(store.split("test"))
    shards = -(-count // 4)
    assert count % 4 and shards >= 6  # else the last shard is no smaller one
    assert set(undisturbed) == {
        "recipe.json", *(f"contributions/{k:05d}.npz" for k in range(shards)),
        *(f"predictions/{k:05d}.parquet" for k in range(shards)),
    }


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_in_the_middle_and_started_again_it_leaves_what_an_undisturbed_run_leaves(
    bulk, undisturbed, tmp_path, workers
):
    script = tmp_path / "work.py"
    script.write_text(SCRIPT)
    arguments = [sys.executable, script, bulk.model, bulk.store, bulk.out, str(workers)]
    process = subprocess.Popen(arguments, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not bulk.done(0) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = {name: (bulk.out / name).stat().st_mtime_ns for name in contents(bulk.out) if name.startswith("pred")}
    assert 0 < len(kept) < len([name for name in undisturbed if name.startswith("pred")])
    explain_store(bulk, progress=False)
    assert contents(bulk.out) == undisturbed
    for name, written in kept.items():
        assert (bulk.out / name).stat().st_mtime_ns == written, f"{name} was done and was written again"


def test_parts_do_not_overlap_and_make_up_the_whole(bulk, undisturbed):
    before = set()
    for i in (1, 2, 3):
        explain_store(bulk, part=(i, 3), progress=False)
        now = {name for name in contents(bulk.out) if name.startswith("predictions")}
        assert before < now and {int(name[12:17]) % 3 for name in now - before} == {i - 1}
        before = now
    assert contents(bulk.out) == undisturbed


HOLDER = """
import sys, time
from pathlib import Path
from attrinet.export.bulk import Bulk, held
with held(Bulk(Path(), Path(), "test", Path(sys.argv[1])), 1, wait=False) as mine:
    print(mine, flush=True)
    sys.stdin.readline()
"""


def test_a_shard_another_process_is_at_is_left_to_it_and_done_when_it_dies(bulk, undisturbed):
    bulk.out.mkdir()
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, bulk.out], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              text=True)
    assert holder.stdout.readline() == "True\n"
    with held(bulk, 1, wait=False) as mine, held(replace(bulk), 2, wait=False) as other:
        assert not mine and other
    us = subprocess.Popen([sys.executable, "-c", SCRIPT.replace("sleep(0.2)", "sleep(0)"), bulk.model, bulk.store,
                           bulk.out, "1"], env=os.environ | {"OMP_NUM_THREADS": "1"})
    last = len([name for name in undisturbed if name.startswith("pred")]) - 1
    deadline = time.monotonic() + 240
    while not bulk.done(last) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert bulk.done(0) and bulk.done(last) and not bulk.done(1) and us.poll() is None
    holder.kill()
    assert us.wait(60) == 0 and contents(bulk.out) == undisturbed


def test_half_precision_is_as_near_as_stated(bulk, undisturbed, tmp_path):
    explain_store(bulk, progress=False)
    half = replace(bulk, out=tmp_path / "half", dtype="float16")
    explain_store(half, progress=False)
    for path in sorted((bulk.out / "contributions").iterdir()):
        full, small = np.load(path), np.load(half.out / "contributions" / path.name)
        assert small["contributions"].dtype == np.float16 and full["contributions"].dtype == np.float32
        scale = small["scale"][..., None, None].astype(np.float64)
        off = np.abs(small["contributions"] * scale - full["contributions"])
        assert (off <= np.maximum(2.0**-11 * np.abs(full["contributions"]), 2.0**-25 * scale) * 1.001).all()
    assert (half.out / "predictions/00000.parquet").read_bytes() == undisturbed["predictions/00000.parquet"]


def test_memory_does_not_grow_with_the_shard(bulk, monkeypatch):
    """No more images than a batch are explained at once, whatever a shard holds."""
    from attrinet.nets.attrinet import AttriNet

    sizes, explain = [], AttriNet.explain
    monkeypatch.setattr(AttriNet, "explain", lambda self, images: sizes.append(len(images)) or explain(self, images))
    explain_store(replace(bulk, per_shard=100), progress=False)
    assert max(sizes) == 2 and sum(sizes) == 21
    saved = np.load(bulk.out / "contributions/00000.npz")
    assert saved["contributions"].shape == (21, 2, SIZE, SIZE)


def test_explanations_of_another_model_split_or_precision_are_not_mixed(bulk, model_folder):
    explain_store(bulk, progress=False)
    with pytest.raises(AttrinetError, match="another dtype"):
        explain_store(replace(bulk, dtype="float16"), progress=False)
    with pytest.raises(AttrinetError, match="another images|another split"):
        explain_store(replace(bulk, split="valid"), progress=False)
    recipe = json.loads((bulk.out / "recipe.json").read_text())
    (bulk.out / "recipe.json").write_text(json.dumps(recipe | {"weights": "0" * 16}))
    with pytest.raises(AttrinetError, match="another weights"):
        explain_store(bulk, progress=False)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("changed", ["weights", "thresholds"])
def test_a_model_replaced_after_the_recipe_was_written_explains_nothing(bulk, tmp_path, monkeypatch, workers, changed):
    """As training replaces RUN/best; what was explained before stays, and goes on with the model it was begun with."""
    job = replace(bulk, model=shutil.copytree(bulk.model, tmp_path / "best"))
    explain_store(job, part=(1, 2), progress=False)
    before, model = contents(job.out), load(job.model)

    def begin_and_train_on(*arguments):
        begin(*arguments)
        if changed == "weights":
            model.classifiers[0].bias.data += 1
        else:
            model.thresholds[0] = 0.75
        preprocessing = {name: model.reader.keywords[name] for name in ("intensity", "keep_aspect")}
        thresholds = dict(zip(FINDINGS, model.thresholds.tolist(), strict=True))
        save_model(model, job.model, thresholds=thresholds, preprocessing=preprocessing)

    monkeypatch.setattr("attrinet.export.bulk.begin", begin_and_train_on)
    with pytest.raises(AttrinetError, match=f"out: the {changed} changed meanwhile.*choose another --out"):
        explain_store(job, workers=workers, progress=False)
    assert contents(job.out) == before
    monkeypatch.undo()
    explain_store(replace(job, model=bulk.model), progress=False)


def test_the_same_images_with_other_labels_or_splits_are_not_mixed_either(bulk, tmp_path):
    explain_store(bulk, part=(1, 2), progress=False)
    moved = shutil.copytree(bulk.store, tmp_path / "moved")
    assert explain_store(replace(bulk, store=moved), part=(2, 2), progress=False)  # a store may move
    manifest = pd.read_parquet(moved / "manifest.parquet")
    order = manifest.index[manifest["split"] == "test"][0], manifest.index[manifest["split"] == "train"][0]
    manifest.loc[list(order), "split"] = ["train", "test"]
    manifest.to_parquet(moved / "manifest.parquet")
    with pytest.raises(AttrinetError, match="holds explanations of another truth"):
        explain_store(replace(bulk, store=moved), progress=False)


@pytest.mark.parametrize("part", [(0, 2), (3, 2), (1, 0)])
def test_a_part_that_is_none_is_refused(bulk, part):
    with pytest.raises(AttrinetError, match="--shard"):
        explain_store(bulk, part=part, progress=False)


def test_bfloat16_is_near_and_is_never_mixed_with_float32(phantom_model, store, undisturbed, tmp_path):
    job = Bulk(phantom_model, store.path, "test", tmp_path / "out", per_shard=4, batch=2, precision="bf16")
    explain_store(job, progress=False)
    with pytest.raises(AttrinetError, match=r"another precision \(bf16, not fp32\)"):
        explain_store(replace(job, precision="fp32"), progress=False)
    name = "contributions/00000.npz"
    half, whole = np.load(job.out / name), np.load(io.BytesIO(undisturbed[name]))
    largest = np.abs(whole["contributions"]).max()
    off = np.abs(half["contributions"] - whole["contributions"]).max()
    assert half["contributions"].dtype == np.float32 and 0 < off < 0.05 * largest


def test_a_folder_of_an_earlier_version_which_knew_one_precision_goes_on(bulk):
    explain_store(bulk, progress=False)
    file = bulk.out / "recipe.json"
    recipe = json.loads(file.read_text())
    assert recipe.pop("precision") == "fp32"
    file.write_text(json.dumps(recipe))
    explain_store(bulk, progress=False)
    with pytest.raises(AttrinetError, match="another precision"):
        explain_store(replace(bulk, precision="bf16"), progress=False)


def test_parts_are_written_in_order_and_what_breaks_on_the_way_is_said(tmp_path):
    parts = [np.full((2, 3), k, np.float32) for k in range(5)]
    stream_npz(tmp_path / "a.npz", "a", (10, 3), "float32", iter(parts), {"b": np.arange(2)})
    saved = np.load(tmp_path / "a.npz")
    np.testing.assert_array_equal(saved["a"], np.concatenate(parts))
    assert saved["b"].tolist() == [0, 1]

    def breaks():
        yield parts[0]
        raise AttrinetError("broken")

    with pytest.raises(AttrinetError, match="broken"):
        stream_npz(tmp_path / "b.npz", "a", (10, 3), "float32", breaks(), {})
    with pytest.raises(OSError):
        stream_npz(Path("/dev/full"), "a", (1 << 17, 3), "float32", iter([np.zeros((1 << 17, 3), np.float32)]), {})
