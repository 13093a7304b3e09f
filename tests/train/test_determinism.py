"""The same seed on the same machine gives the same weights, bit for bit, whatever the number of threads and workers."""

import numpy as np
import pytest
import torch

from attrinet.baselines.loop import train as train_baseline
from attrinet.data.phantom import phantom_source
from attrinet.data.prepare import prepare
from attrinet.data.sampling import Sampler
from attrinet.train import checkpoint
from attrinet.train.loop import train

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
    from attrinet.train.config import load_config

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
