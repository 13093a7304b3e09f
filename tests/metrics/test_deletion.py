"""Deletion and insertion change the pixels they should, in the order they should."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from attrinet.metrics.deletion import GREY, SHARES, area, deleted, inserted, ranks


def test_the_strongest_pixel_comes_first_and_ties_come_in_random_order():
    random = np.random.default_rng(0)
    rank = ranks(np.array([[3.0, -1.0], [7.0, 0.0]]), random)
    np.testing.assert_array_equal(rank, [[1, 3], [0, 2]])
    flat = [tuple(ranks(np.ones((2, 2)), random).ravel()) for _ in range(40)]
    assert len(set(flat)) > 10 and all(sorted(one) == [0, 1, 2, 3] for one in flat)


def test_deletion_greys_and_insertion_reveals_the_strongest_share():
    random = np.random.default_rng(1)
    image = random.uniform(0.2, 1, (10, 10)).astype(np.float32)
    rank = ranks(random.random((10, 10)), random)
    gone, shown = deleted(image, rank), inserted(image, rank)
    assert gone.shape == shown.shape == (len(SHARES), 10, 10) and gone.dtype == shown.dtype == np.float32
    for share, less, more in zip(SHARES, gone, shown, strict=True):
        strongest = rank < 100 * share
        assert (less[strongest] == GREY).all() and (less[~strongest] == image[~strongest]).all()
        assert (more[strongest] == image[strongest]).all()
    assert (gone[0] == image).all() and (shown[-1] == image).all()
    assert shown[0].std() < image.std()  # blurred, with the same mean
    assert shown[0].mean() == pytest.approx(image.mean(), abs=0.05)


def test_area_is_that_under_the_curve_however_the_shares_lie():
    assert area(np.ones(len(SHARES))) == pytest.approx(1)
    assert area(1 - np.array(SHARES)) == pytest.approx(0.5)
    assert area(np.array([1.0, 0, 0]), (0, 0.1, 1)) == pytest.approx(0.05)


def test_curves_of_many_images_have_an_area_each():
    np.testing.assert_allclose(area(np.array([[1.0, 1, 1], [1, 0, 0]]), (0, 0.1, 1)), [1, 0.05])


def test_insertion_shows_exactly_the_share_over_a_blur_that_repeats_the_border():
    image = np.random.default_rng(3).uniform(-1, 1, (20, 20)).astype(np.float32)
    rank = np.arange(400).reshape(20, 20)
    (half,) = inserted(image, rank, (0.5,))
    blurred = gaussian_filter(image, 20 / 16, mode="nearest")
    assert (half[rank < 200] == image[rank < 200]).all() and (half[rank >= 200] == blurred[rank >= 200]).all()
