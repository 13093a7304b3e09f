"""A run that was killed and resumed ends with the same weights and the same log, bit for bit."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file, save_file
from torch.utils.tensorboard import SummaryWriter

from attrinet.data.phantom import phantom_source
from attrinet.data.prepare import prepare
from attrinet.errors import AttrinetError
from attrinet.train import checkpoint
from attrinet.train.config import dump_config
from attrinet.train.log import read_log
from attrinet.train.loop import train
from attrinet.train.state import ADDED, TrainState
from attrinet.train.steps import Steps


def start(config, out, *arguments):
    command = [sys.executable, "-m", "attrinet", "train", config, "--out", out, "--quiet", *arguments]
    return subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True)


def wait_for(condition, process, seconds=120):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        if condition():
            return
        time.sleep(0.01)


def lines(out):
    path = out / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def weights(out):
    return {path.name: load_file(path) for path in
            [*checkpoint.checkpoints(out / "checkpoints")[-1:], out / "best" / "model.safetensors"]}


def assert_same_run(a, b):
    assert (a / "metrics.jsonl").read_bytes() == (b / "metrics.jsonl").read_bytes()
    left, right = weights(a), weights(b)
    assert left.keys() == right.keys()
    for name in left:
        assert left[name].keys() == right[name].keys()
        for key, value in left[name].items():
            assert value.equal(right[name][key]), (name, key)
    assert (a / "best" / "thresholds.json").read_bytes() == (b / "best" / "thresholds.json").read_bytes()


def test_killed_again_and_again_and_resumed_it_is_the_undisturbed_run(config, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(dump_config(config("schedule.steps=40")))
    whole = start(file, tmp_path / "whole")
    killed = tmp_path / "killed"
    for kills, more in enumerate((2, 9, 6)):  # records of the log after which it dies: before and between checkpoints
        before = lines(killed)
        process = start(file, killed, *(["--resume"] if kills else []))
        # a resumed run first rewrites its log: wait for the records that are new
        wait_for(lambda before=before, more=more: lines(killed) >= before + more, process)
        assert process.poll() is None, process.stderr.read()
        process.send_signal(signal.SIGKILL)
        process.wait()
    last = start(file, killed, "--resume")
    assert last.wait(timeout=120) == 0, last.stderr.read()
    assert whole.wait(timeout=120) == 0, whole.stderr.read()
    assert lines(killed) > 20
    assert_same_run(tmp_path / "whole", killed)


def test_stopped_by_a_signal_it_saves_exits_130_and_resumes_to_the_same_end(config, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(dump_config(config("schedule.steps=40", "run.checkpoint_every=1000")))
    stopped = tmp_path / "stopped"
    process = start(file, stopped)
    wait_for(lambda: lines(stopped) >= 4, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 130
    assert "--resume" in process.stderr.read()
    assert len(checkpoint.checkpoints(stopped / "checkpoints")) == 1
    for run in (start(file, stopped, "--resume"), start(file, tmp_path / "whole")):
        assert run.wait(timeout=120) == 0, run.stderr.read()
    assert_same_run(tmp_path / "whole", stopped)


def test_a_longer_run_can_go_on_from_a_finished_one(config, tmp_path):
    train(config(), tmp_path / "run", progress=False)
    train(config("schedule.steps=18", "run.eval_batch_size=8"), tmp_path / "run", resume=True, progress=False)
    train(config("schedule.steps=18"), tmp_path / "whole", progress=False)
    assert weights(tmp_path / "run")["step-00000018.safetensors"].keys()
    before = (tmp_path / "run" / "config.yaml").read_bytes()
    with pytest.raises(AttrinetError, match="has taken 18 steps already, more than the 12 of schedule.steps"):
        train(config("schedule.steps=12"), tmp_path / "run", resume=True, progress=False)
    assert (tmp_path / "run" / "config.yaml").read_bytes() == before
    left, right = weights(tmp_path / "run"), weights(tmp_path / "whole")
    assert all(v.equal(right["step-00000018.safetensors"][k]) for k, v in left["step-00000018.safetensors"].items())


def test_what_a_checkpoint_has_tensorboard_has_too(config, tmp_path, monkeypatch):
    flushed, real = [], SummaryWriter.flush
    monkeypatch.setattr(SummaryWriter, "flush", lambda self: (flushed.append(True), real(self)))
    monkeypatch.setattr(checkpoint, "save_file", lambda *rest: pytest.fail() if not flushed else save_file(*rest))
    train(config("schedule.steps=1"), tmp_path / "run", progress=False)


def test_an_existing_run_is_not_overwritten_and_other_options_do_not_resume(config, tmp_path):
    train(config("schedule.steps=3"), tmp_path / "run", progress=False)
    with pytest.raises(AttrinetError, match="already holds a run"):
        train(config("schedule.steps=3"), tmp_path / "run", progress=False)
    with pytest.raises(AttrinetError, match=r"optimizer\.lr: 0\.001 → 0\.01"):
        train(config("optimizer.lr=0.01"), tmp_path / "run", resume=True, progress=False)


def test_a_full_disk_leaves_the_last_good_checkpoint(config, tmp_path, monkeypatch):
    assert config().run.checkpoint_every == 3
    out = tmp_path / "run"
    real, calls = checkpoint.save_file, []

    def full(tensors, path, *rest):
        calls.append(path)
        if len(calls) == 2:
            path.write_bytes(b"half a file")
            raise OSError(28, "No space left on device")
        return real(tensors, path, *rest)

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(AttrinetError, match="No space left.*untouched"):
        train(config(), out, progress=False)
    monkeypatch.undo()
    assert [p.name for p in (out / "checkpoints").iterdir()] == ["step-00000003.safetensors"]
    train(config(), out, resume=True, progress=False)
    train(config(), tmp_path / "whole", progress=False)
    assert_same_run(tmp_path / "whole", out)


def test_a_damaged_checkpoint_is_named(config, tmp_path):
    train(config("schedule.steps=6"), tmp_path / "run", progress=False)
    newest = checkpoint.checkpoints(tmp_path / "run" / "checkpoints")[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    with pytest.raises(AttrinetError, match=f"{newest.name}.*delete it to resume from the one before"):
        train(config(), tmp_path / "run", resume=True, progress=False)
    newest.unlink()
    train(config(), tmp_path / "run", resume=True, progress=False)


def test_a_kill_while_best_is_replaced_leaves_a_model(tmp_path):
    for name in ("best.tmp", "best.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "which").write_text(name)
    checkpoint.repair_folder(tmp_path / "best")  # killed between the two renames
    assert (tmp_path / "best" / "which").read_text() == "best.old"


def test_what_a_kill_left_half_written_is_gone_after_a_resumed_run(config, tmp_path):
    run = tmp_path / "run"
    train(config(), run, progress=False)
    checkpoint.checkpoints(run / "checkpoints")[-1].unlink()  # as if killed while it was written
    (run / "best.tmp").mkdir()
    left = [run / "checkpoints" / ".tmpqjql3L", run / "best.tmp" / ".tmpAb12Cd"]  # as safetensors calls its own
    for path in left:
        path.write_bytes(b"half a file")
    train(config(), run, resume=True, progress=False)
    train(config(), tmp_path / "whole", progress=False)
    assert_same_run(tmp_path / "whole", run)
    names = [sorted(str(p.relative_to(out)) for p in out.rglob("*") if "tfevents" not in p.name)
             for out in (run, tmp_path / "whole")]
    assert names[0] == names[1]


def test_a_folder_that_cannot_be_made_is_named(config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AttrinetError, match="file/run: cannot be written to"):
        train(config(), tmp_path / "file" / "run", progress=False)


def test_two_processes_cannot_train_in_one_folder(config, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(dump_config(config("schedule.steps=4000")))
    first = start(file, tmp_path / "run")
    try:
        wait_for(lambda: lines(tmp_path / "run") >= 1, first)
        with pytest.raises(AttrinetError, match="another process is training"):
            train(config("schedule.steps=4000"), tmp_path / "run", resume=True, progress=False)
    finally:
        first.kill()
        first.wait()


def test_a_store_may_move_and_may_not_change(config, phantoms, tmp_path):
    def on(path, steps):
        return config(f"data.store={path}", f"schedule.steps={steps}")

    train(on(phantoms.path, 2), tmp_path / "run", progress=False)
    moved = shutil.copytree(phantoms.path, tmp_path / "moved")
    train(on(moved, 3), tmp_path / "run", resume=True, progress=False)
    kept = [tmp_path / "run" / "config.yaml", *(tmp_path / "run" / "checkpoints").iterdir()]
    before = [p.read_bytes() for p in kept]
    manifest = pd.read_parquet(moved / "manifest.parquet")
    manifest.loc[0, "patient"] = "somebody else"
    manifest.to_parquet(moved / "manifest.parquet")
    changed = shutil.copytree(moved, tmp_path / "changed")
    with pytest.raises(AttrinetError, match="changed: is not the store that .*run was trained on so far"):
        train(on(changed, 4), tmp_path / "run", resume=True, progress=False)
    larger = prepare(phantom_source(60, 64, seed=1), tmp_path / "larger", 64, progress=False)
    with pytest.raises(AttrinetError, match="larger: is not the store that .*run was trained on so far"):
        train(on(larger.path, 4), tmp_path / "run", resume=True, progress=False)
    assert [p.read_bytes() for p in kept] == before


def test_a_mask_file_may_not_change_between_start_and_resume(config, tmp_path):
    file = tmp_path / "mask.npy"

    def on(steps):
        return config(f"schedule.steps={steps}", "guidance.mode=given", f"guidance.masks={{Edema: {file}}}")

    np.save(file, np.tri(32))
    train(on(1), tmp_path / "run", progress=False)
    np.save(file, np.tri(32).T)
    with pytest.raises(AttrinetError, match="mask.npy: not the guidance masks that .*run was trained with so far"):
        train(on(2), tmp_path / "run", resume=True, progress=False)
    np.save(file, np.tri(32))
    train(on(2), tmp_path / "run", resume=True, progress=False)


def test_a_resumed_run_keeps_no_second_copy_of_what_it_read(config, tmp_path, monkeypatch):
    class Tensors(dict):
        """One that a weak reference can follow."""

    read, kept = checkpoint.read_checkpoint, []

    def followed(path):
        tensors, progress = read(path)
        made = Tensors(tensors)
        kept.append(weakref.ref(made))
        return made, progress

    def step(self):
        assert kept[0]() is None
        return real(self)

    train(config("schedule.steps=1"), tmp_path / "run", progress=False)
    real = Steps.generator
    monkeypatch.setattr(checkpoint, "read_checkpoint", followed)
    monkeypatch.setattr(Steps, "generator", step)
    train(config("schedule.steps=2"), tmp_path / "run", resume=True, progress=False)
    assert kept


def test_a_resume_where_no_run_is_says_that_one_begins(config, tmp_path):
    with pytest.warns(UserWarning, match="typo: holds no run to go on with; a new one begins there"):
        train(config("schedule.steps=1"), tmp_path / "typo", resume=True, progress=False)


def test_a_checkpoint_of_an_earlier_version_knows_no_store_nor_masks_and_goes_on(config, tmp_path, monkeypatch):
    with monkeypatch.context() as earlier:
        whole = TrainState.progress
        earlier.setattr(TrainState, "progress", lambda self: {k: v for k, v in whole(self).items() if k not in ADDED})
        train(config("schedule.steps=2"), tmp_path / "run", progress=False)
    train(config("schedule.steps=3"), tmp_path / "run", resume=True, progress=False)
    assert json.loads((tmp_path / "run/best/training.json").read_text())["step"] >= 1


def test_a_signal_to_one_of_two_processes_stops_both_and_their_log_goes_on(config, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(dump_config(config("run.devices=2", "run.batch_size=4", "schedule.steps=24", "run.log_every=7",
                                       "run.validate_every=8", "run.checkpoint_every=1000")))
    whole, stopped = start(file, tmp_path / "whole"), tmp_path / "stopped"
    assert whole.wait(timeout=240) == 0, whole.stderr.read()
    process = start(file, stopped)
    wait_for(lambda: lines(stopped) >= 1, process)
    (second,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(second), signal.SIGTERM)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 130 and "Traceback" not in said, said
    saved = int(checkpoint.checkpoints(stopped / "checkpoints")[-1].stem.removeprefix("step-"))
    assert 7 <= saved < 24
    last = start(file, stopped, "--resume")
    assert last.wait(timeout=240) == 0, last.stderr.read()
    logs = (read_log(out / "metrics.jsonl") for out in (stopped, tmp_path / "whole"))
    for left, right in zip(*logs, strict=True):
        assert left.keys() == right.keys()
        for name in left.keys() - {"kind", "auc"}:
            assert left[name] == pytest.approx(right[name], rel=1e-6), (name, left["step"], saved)
    a, b = (weights(out) for out in (stopped, tmp_path / "whole"))
    assert all(value.equal(b[name][key]) for name in a for key, value in a[name].items())


SLOW_DISK = """
import sys, time
from attrinet.cli import main
from attrinet.train import checkpoint
fast = checkpoint.save_file
checkpoint.save_file = lambda *arguments: (time.sleep(7), fast(*arguments))
main()
"""


def test_no_process_ends_before_the_one_that_saves_has_saved(config, tmp_path):
    """The launcher looks every five seconds whether a process has failed, and kills the rest."""
    (tmp_path / "slow.py").write_text(SLOW_DISK)
    file = tmp_path / "config.yaml"
    file.write_text(dump_config(config("run.devices=2", "schedule.steps=400", "run.checkpoint_every=1000")))
    command = [sys.executable, tmp_path / "slow.py", "train", file, "--out", tmp_path / "run", "--quiet"]
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: lines(tmp_path / "run") >= 1, process)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 130, said
    assert len(checkpoint.checkpoints(tmp_path / "run" / "checkpoints")) == 1


def test_of_two_processes_one_says_what_is_wrong_with_the_folder(config, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(dump_config(config("run.devices=2", "schedule.steps=2")))
    (tmp_path / "run").mkdir()
    shutil.copy(file, tmp_path / "run" / "config.yaml")
    process = start(file, tmp_path / "run")
    said = process.communicate(timeout=120)[1].splitlines()
    assert process.returncode == 2
    assert [line for line in said if "already holds a run" in line] == [said[-1]]
    assert not any("Traceback" in line or "RuntimeError" in line for line in said), said


FULL_DISK = """
import importlib, os
from attrinet.cli import main
module, name = os.environ["FULL"].rsplit(".", 1)
def full(*arguments, **options):
    raise OSError(28, "No space left on device")
setattr(importlib.import_module(module), name, full)
main()
"""


@pytest.mark.parametrize("work", ["attrinet.train.run.save_model", "attrinet.train.log._nulls"])
def test_what_the_writing_one_of_two_processes_cannot_do_ends_both_and_one_says_why(config, tmp_path, work):
    (tmp_path / "full.py").write_text(FULL_DISK)
    file = tmp_path / "config.yaml"
    file.write_text(dump_config(config("run.devices=2", "schedule.steps=1")))
    command = [sys.executable, tmp_path / "full.py", "train", file, "--out", tmp_path / "run", "--quiet"]
    done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1", "FULL": work}, capture_output=True,
                          text=True, timeout=240)
    said = done.stderr.splitlines()
    assert done.returncode == 2, said
    assert [line for line in said if "No space left on device" in line] == [said[-1]]
    assert not any("Traceback" in line or "RuntimeError" in line for line in said), said


def test_a_closed_terminal_stops_as_ctrl_c_does(config, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(dump_config(config("schedule.steps=4000", "run.checkpoint_every=4000")))
    before = signal.signal(signal.SIGHUP, signal.default_int_handler)  # what starts under nohup ignores it
    process = start(file, tmp_path / "run")
    signal.signal(signal.SIGHUP, before)
    wait_for(lambda: lines(tmp_path / "run") >= 1, process)
    process.send_signal(signal.SIGHUP)
    assert process.wait(60) == 130, process.stderr.read()
    assert checkpoint.checkpoints(tmp_path / "run" / "checkpoints")
