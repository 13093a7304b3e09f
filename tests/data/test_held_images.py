"""Images held in a device's memory are the images on disk."""

import numpy as np
import pytest
import torch

from attrinet.data import store as module
from attrinet.data.phantom import phantom_source
from attrinet.data.prepare import prepare
from attrinet.data.store import Store
from attrinet.errors import AttrinetError


@pytest.fixture
def store(tmp_path):
    return prepare(phantom_source(20, 32, seed=3), tmp_path / "store", 32, progress=False)


@pytest.mark.parametrize("rows", [[0], [19, 3, 3, 7], np.array([4, 0]), np.array([], int)])
def test_a_batch_is_the_same_to_the_last_bit(store, rows, monkeypatch):
    before = store.batch(rows)
    monkeypatch.setattr(module, "HELD_AT_ONCE", 7)  # the last part is a smaller one
    store.hold("cpu")
    after, part = store.batch(rows, "cpu"), store.select(["Edema"]).batch(rows)
    assert after.dtype == before.dtype and torch.equal(after, before) and torch.equal(part, before)


def test_the_disk_is_not_read_again(store):
    want = store.batch([2, 11])
    store.hold("cpu")
    store.images = np.zeros_like(store.images)
    assert torch.equal(store.batch([2, 11]), want)


def test_another_device_reads_from_disk(store):
    want = store.batch([2, 11])
    store.hold("meta")
    assert torch.equal(store.batch([2, 11]), want)
    assert store.batch([2, 11], "meta").shape == want.shape


def test_images_that_do_not_fit_are_refused_in_a_sentence(store):
    huge = np.broadcast_to(np.uint8(0), (10**8, 2000, 2000))
    with pytest.raises(AttrinetError, match=r"somewhere: its images, 400000.0 GB, do not fit .*data.resident=never"):
        Store("somewhere", huge, store.findings, store.meta).hold("cpu")
