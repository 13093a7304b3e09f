"""The classifier with planted evidence, and an autoencoder it can be seen through."""

import os

import pytest

os.environ.setdefault("NUMBA_DISABLE_JIT", "1")  # shap would compile for longer than all these tests take

from planted import BlockAutoencoder, Planted, planted_images


@pytest.fixture
def model():
    return Planted().eval()


@pytest.fixture(scope="session")
def images():
    return planted_images()


@pytest.fixture
def autoencoder():
    return BlockAutoencoder(64)
