"""The same seed on the same machine gives the same weights, bit for bit, whatever the number of threads and workers."""

import numpy as np
import pytest
import torch

from attrinet.baselines.loop import train as train_baseline
from attrinet.data.phantom import phantom_source
from attrinet.data.prepare import prepare
from attrinet.data.sampling import Sampler
from attrinet.data.store import Store
from attrinet.train import checkpoint
from attrinet.train.config import load_config
from attrinet.train.loop import train
from attrinet.train.run import resident

BASELINE = ("model.kind=resnet50", "model.depth=18", "model.width=4", "baseline.epochs=1", "run.batch_size=8",
            "run.accelerator=cpu", "run.log_every=2")


def last(out):
    (newest, *_) = checkpoint.checkpoints(out / "checkpoints")[::-1]
    return newest.read_bytes(), (out / "metrics.jsonl").read_bytes(), (out / "best" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("threads", [1, 2])
def test_two_runs_of_one_seed_end_bit_for_bit_alike_and_another_seed_does_not(config, tmp_path, threads):
    torch.set_num_threads(threads)
    try:
        settings = ("schedule.steps=3", "run.validate_every=3", "schedule.burst=0")
        runs = [train(config(*settings, f"run.seed={seed}"), tmp_path / str(k), progress=False).parent
                for k, seed in enumerate((4, 4, 5))]
    finally:
        torch.set_num_threads(1)
    assert last(runs[0]) == last(runs[1])
    assert all(a != b for a, b in zip(last(runs[0]), last(runs[2]), strict=True))


def test_a_baseline_is_as_repeatable(phantoms, tmp_path):
    config = load_config(None, (f"data.store={phantoms.path}", *BASELINE))
    runs = [train_baseline(config, tmp_path / str(k), progress=False).parent for k in range(2)]
    assert last(runs[0]) == last(runs[1])


def test_the_order_of_the_data_depends_on_seed_and_step_only_not_on_the_workers_that_read_it(tmp_path):
    stores = [prepare(phantom_source(40, 32, seed=2), tmp_path / str(w), 32, workers=w, progress=False) for w in (1, 2)]
    seen = []
    for store, steps in zip(stores, (range(12), reversed(range(12))), strict=True):
        sampler = Sampler(store.labels, store.split("train"), store.findings, 2, seed=7)
        drawn = {}
        for step in steps:  # in whatever order they are asked for
            _, negatives, positives = sampler.draw("generator", step)
            drawn[step] = store.batch(np.concatenate([negatives, positives])).numpy().tobytes()
        seen.append(drawn)
    assert seen[0] == seen[1] and len(set(seen[0].values())) == 12


@pytest.mark.parametrize("train, settings", [
    (train, ("schedule.steps=3", "run.validate_every=3", "schedule.burst=0", "model.width=4", "run.accelerator=cpu")),
    (train_baseline, BASELINE),
])
def test_with_the_images_in_the_devices_memory_it_is_the_same_run(phantoms, tmp_path, train, settings, monkeypatch):
    held, hold = [], Store.hold
    monkeypatch.setattr(Store, "hold", lambda self, device, progress: held.append(device) or hold(self, device))
    for mode in ("never", "auto", "always"):
        config = load_config(None, (f"data.store={phantoms.path}", *settings, f"data.resident={mode}"))
        train(config, tmp_path / mode, progress=False)
    assert held == [torch.device("cpu")]  # auto is about GPUs
    assert last(tmp_path / "always") == last(tmp_path / "never")


@pytest.mark.parametrize("free, held", [(301, True), (299, False)])
def test_on_a_gpu_images_are_held_where_a_third_of_its_free_memory_is_enough(free, held, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 1000))
    assert resident("auto", 100, torch.device("cuda:1")) is held
    assert not resident("never", 100, torch.device("cuda:1")) and resident("always", 100, torch.device("cuda:1"))
