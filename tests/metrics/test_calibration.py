"""Expected calibration error by hand, and from scikit-learn's reliability curve."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from attrinet.metrics.calibration import BINS, weighted_calibration_error


def error(labels, probabilities, weights=None):
    weights = np.ones(len(labels)) if weights is None else np.asarray(weights, float)
    return weighted_calibration_error(np.asarray(labels, float), np.asarray(probabilities), weights[None])[0]


def test_by_hand():
    assert error([1, 0, 0, 0], [0.25] * 4) == pytest.approx(0)  # one in four is right
    assert error([1, 1, 0, 0], [0.9, 0.9, 0.1, 0.1]) == pytest.approx(0.1)
    assert error([0, 1], [1.0, 0.0]) == 1  # sure, and wrong; a probability of 1 falls into the last bin
    assert error([1, 0, 1, np.nan], [0.75, 0.75, 0.15, 0.99]) == pytest.approx(2 / 3 * 0.25 + 1 / 3 * 0.85)
    assert np.isnan(error([np.nan], [0.5]))


def test_it_is_the_mean_gap_of_scikit_learns_reliability_curve():
    random = np.random.default_rng(0)
    probabilities = random.random(500) ** 2
    labels = (random.random(500) < probabilities**0.8).astype(float)
    share, mean = calibration_curve(labels, probabilities, n_bins=BINS)
    count, _ = np.histogram(probabilities, BINS, (0, 1))
    want = (count[count > 0] * np.abs(share - mean)).sum() / 500
    assert want > 0.01 and error(labels, probabilities) == pytest.approx(want, abs=1e-9)


def test_a_weight_of_three_is_the_image_three_times():
    random = np.random.default_rng(1)
    labels, probabilities, weights = random.integers(0, 2, 40), random.random(40), random.integers(0, 4, 40)
    repeated = np.repeat(np.arange(40), weights)
    assert error(labels, probabilities, weights) == pytest.approx(error(labels[repeated], probabilities[repeated]))


def test_each_draw_has_its_own_error_also_where_little_counts():
    got = weighted_calibration_error(np.array([1.0, 0]), np.array([0.85, 0.95]),
                                     np.array([[0.5, 0], [0, 0.5], [0, 0]]))
    np.testing.assert_allclose(got, [0.15, 0.95, np.nan])


def test_the_last_two_bins_are_two():
    assert error([1, 0], [0.85, 0.95]) == pytest.approx((0.15 + 0.95) / 2)
