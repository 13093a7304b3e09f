"""A store of small phantoms."""

import pytest

from attrinet.data.phantom import phantom_source
from attrinet.data.prepare import prepare


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    return prepare(phantom_source(90, 32, seed=2), tmp_path_factory.mktemp("data") / "s", 32, progress=False)
