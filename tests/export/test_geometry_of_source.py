"""Evidence comes back to the pixels of the file it was found in: in its place, and with its sum."""

import numpy as np
import pytest

from attrinet.data.images import resize
from attrinet.export.geometry import holding, on_source


@pytest.mark.parametrize("height,width", [(16, 16), (40, 24), (7, 100), (5, 3), (1, 1)])
def test_sums_are_kept_whatever_the_size(height, width):
    maps = np.random.default_rng(0).normal(size=(3, 16, 16))
    out = on_source(maps, height, width, keep_aspect=False)
    assert out.shape == (3, height, width) and out.dtype == np.float32
    np.testing.assert_allclose(out.sum((1, 2), dtype=np.float64), maps.sum((1, 2)), atol=1e-5)


def test_at_the_models_own_size_nothing_changes():
    maps = np.random.default_rng(0).normal(size=(1, 16, 16))
    np.testing.assert_allclose(on_source(maps, 16, 16, False), maps, atol=1e-6)


def test_twice_the_size_spreads_each_value_over_its_four_pixels():
    maps = np.arange(4.0).reshape(1, 2, 2)
    np.testing.assert_allclose(on_source(maps, 4, 4, False), maps.repeat(2, 1).repeat(2, 2) / 4)


@pytest.mark.parametrize("keep_aspect", [False, True])
@pytest.mark.parametrize("height,width", [(90, 41), (33, 120)])
def test_a_spot_comes_back_where_it_was_in_the_file(height, width, keep_aspect):
    spot = np.zeros((height, width), np.float32)
    spot[height // 5, width * 2 // 3] = 1000
    seen = resize(spot, 32, keep_aspect)
    back = on_source(seen[None], height, width, keep_aspect)[0]
    rows, columns = np.indices(back.shape) + 0.5
    center = (back * rows).sum() / back.sum(), (back * columns).sum() / back.sum()
    scale = max(height, width) / 32
    assert center == pytest.approx((height // 5 + 0.5, width * 2 // 3 + 0.5), abs=scale)


def test_what_lies_in_the_padding_has_no_source_pixel():
    maps = np.ones((1, 32, 32))
    out = on_source(maps, 64, 32, keep_aspect=True)
    np.testing.assert_allclose(out, np.full((1, 64, 32), 0.25))  # a pixel of the model is 2 × 2 of the source


def test_the_fewest_pixels_that_hold_half_of_the_evidence():
    evidence = np.array([[5.0, 3.0], [2.0, -9.0]])
    assert holding(evidence, 0.5).tolist() == [[True, False], [False, False]]
    assert holding(evidence, 0.6).tolist() == [[True, True], [False, False]]
    assert holding(evidence, 1.0).tolist() == [[True, True], [True, False]]
    assert not holding(-np.abs(evidence), 0.5).any()
    assert holding(np.ones((3, 3)), 0.5).all()  # equals are not told apart by their place
