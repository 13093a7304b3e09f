"""A small model with random weights, and a store of phantoms it fits."""

import pytest

from attrinet import load
from attrinet.data.phantom import phantom_source
from attrinet.data.prepare import prepare
from radiographs import SIZE, save_small_model


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    return save_small_model(tmp_path_factory.mktemp("model") / "best")


@pytest.fixture(scope="session")
def model(model_folder):
    return load(model_folder)


@pytest.fixture(scope="session")
def phantom_model(tmp_path_factory):
    """Folder of a model whose findings phantoms have."""
    return save_small_model(tmp_path_factory.mktemp("phantom_model") / "best", findings=("Edema", "Cardiomegaly"))


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    source = phantom_source(30, SIZE, 0, {"train": 0.2, "valid": 0.1, "test": 0.7})
    return prepare(source, tmp_path_factory.mktemp("stores") / "phantoms", SIZE, progress=False)
