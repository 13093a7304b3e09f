"""A store of small phantoms, and configurations of baselines that train on it in seconds."""

import pytest

from attrinet.data.phantom import phantom_source
from attrinet.data.prepare import prepare
from attrinet.train.config import load_config
from small_baselines import SMALL

TINY = ("baseline.epochs=2", "baseline.lr=1e-3", "run.batch_size=4",
        "run.checkpoint_every=3", "run.log_every=2", "run.sample_every=1000", "run.accelerator=cpu")


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory):
    return prepare(phantom_source(50, 32, seed=1), tmp_path_factory.mktemp("data") / "store", 32, progress=False)


@pytest.fixture(scope="session")
def config(phantoms):
    """config(kind, *overrides) → a tiny run's configuration."""
    return lambda kind, *overrides: load_config(
        None, (f"data.store={phantoms.path}", f"model.kind={kind}", *TINY,
               *(f"model.{name}={size}" for name, size in SMALL[kind].items()), *overrides)
    )
