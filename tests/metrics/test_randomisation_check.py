"""Maps that owe nothing to the weights are found out."""

import numpy as np
import pytest
from scipy.stats import rankdata

from attrinet.metrics.randomisation import similarity


def test_it_is_the_correlation_of_ranks():
    random = np.random.default_rng(0)
    a, b = random.normal(size=(3, 8, 8)), random.normal(size=(3, 8, 8))
    b[0, :4] = a[0, :4]
    want = [np.corrcoef(rankdata(x), rankdata(y))[0, 1] for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(similarity(a, b), want)
    assert similarity(a, np.exp(a)) == pytest.approx(1) and similarity(a, -a) == pytest.approx(-1)


def test_the_same_constant_map_is_fully_alike_and_a_blank_one_ranks_nothing():
    flat = np.ones((1, 4, 4))
    assert similarity(flat, flat) == 1
    assert np.isnan(similarity(flat, np.random.default_rng(0).random((1, 4, 4))))


def test_a_map_of_range_one_ranks_as_any_other_and_either_blank_one_ranks_nothing():
    ramp, flat = np.linspace(0, 1, 16).reshape(1, 4, 4), np.ones((1, 4, 4))
    assert similarity(ramp, ramp**2) == pytest.approx(1)
    assert np.isnan(similarity(ramp, flat)) and np.isnan(similarity(flat, ramp))


def test_two_blank_maps_are_not_called_alike():
    blank = np.zeros((1, 4, 4))
    assert np.isnan(similarity(blank, blank)) and np.isnan(similarity(blank, blank + 1))
