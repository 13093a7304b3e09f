"""A store of small phantoms and a configuration that trains on it in seconds."""

import pytest

from attrinet.data.phantom import phantom_source
from attrinet.data.prepare import prepare
from attrinet.train.config import load_config

TINY = (
    "model.width=4", "run.batch_size=2", "schedule.steps=12", "schedule.critic_steps=2", "schedule.classifier_steps=2",
    "schedule.burst=4", "schedule.burst_first=2", "schedule.burst_every=5", "optimizer.lr=1e-3", "run.validate_every=4",
    "run.checkpoint_every=3", "run.log_every=2", "run.sample_every=6", "run.accelerator=cpu",
)


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory):
    return prepare(phantom_source(60, 32, seed=1), tmp_path_factory.mktemp("data") / "store", 32, progress=False)


@pytest.fixture
def config(phantoms):
    """config(*overrides) → a tiny run's configuration."""
    return lambda *overrides: load_config(None, (f"data.store={phantoms.path}", *TINY, *overrides))
