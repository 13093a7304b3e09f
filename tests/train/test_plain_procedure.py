"""Faster steps are the same mathematics as the published procedure done plainly (benchmarks/speed.py)."""

import copy
from pathlib import Path

import pytest
import torch

from attrinet.data.store import Store
from attrinet.train.config import load_config
from attrinet.train.state import new_state
from scripts_loaded import loaded

SPEED = Path(__file__).parents[2] / "benchmarks" / "speed.py"


@pytest.fixture(scope="module")
def speed():
    return loaded(SPEED)


@pytest.mark.parametrize("part", ["critic", "generator", "classifier"])
def test_from_the_same_weights_every_loss_is_that_of_the_plain_procedure(speed, phantoms, part):
    """Learning rates are as good as zero, so that all losses of the steps compare, not the first alone."""
    still = [f"optimizer.{name}=1e-12" for name in ("lr", "classifier_lr", "center_lr")]
    config = load_config(None, ["model.width=4", "run.batch_size=4", *still])
    ours = speed.new_steps(config, Store.open(phantoms.path), "cpu")
    plain = copy.copy(ours)
    plain.state = new_state(copy.deepcopy(ours.state.model), config.optimizer)
    got = [float(loss) for loss in speed.parts(ours, plain=False)[part]()]
    with speed.plain_networks():
        want = [float(loss) for loss in speed.parts(plain, plain=True)[part]()]
    assert len(got) == {"critic": 5, "generator": 4, "classifier": 5}[part]
    torch.testing.assert_close(torch.tensor(got), torch.tensor(want), rtol=1e-4, atol=1e-6)
    assert len({round(loss, 6) for loss in want}) > 1
