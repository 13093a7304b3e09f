"""Run-length masks are those of COCO, and a damaged one is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from attrinet.data import rle


@settings(deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.floats(0, 1), st.integers(0, 1000))
def test_both_ways_as_pycocotools(height, width, share, seed):
    mask = np.random.default_rng(seed).random((height, width)) < share
    theirs = coco.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()
    assert rle.encode(mask) == theirs
    np.testing.assert_array_equal(rle.decode(theirs, height, width), mask)


@pytest.mark.parametrize("text", ["", "1", "\x00", "zzz", "o" * 9, "55555", "é"])
def test_a_damaged_string_is_refused(text):
    with pytest.raises(ValueError):
        rle.decode(text, 10, 10)
