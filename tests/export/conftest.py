"""A small model with random weights."""

import pytest

from attrinet import load
from radiographs import save_small_model


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    return save_small_model(tmp_path_factory.mktemp("model") / "best")


@pytest.fixture(scope="session")
def model(model_folder):
    return load(model_folder)
