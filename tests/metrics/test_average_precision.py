"""Average precision is scikit-learn's, and weights are repetitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from attrinet.metrics.average_precision import weighted_average_precision


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 60), st.integers(1, 6))
def test_it_agrees_with_scikit_learn_also_with_ties_and_repetitions(seed, n, levels):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, n).astype(float)
    scores = random.integers(0, levels + 1, n).astype(float)
    labels[0] = 1
    weights = np.stack([np.ones(n), random.integers(0, 4, n)])
    weights[:, 0] += 1
    for got, weight in zip(weighted_average_precision(labels, scores, weights), weights.astype(int), strict=True):
        repeated = np.repeat(np.arange(n), weight)
        assert got == pytest.approx(average_precision_score(labels[repeated], scores[repeated]), abs=1e-12)


def test_by_hand_and_unknown_labels_are_left_out():
    labels = np.array([1, 0, np.nan, 1, 0])
    scores = np.array([0.9, 0.8, 0.75, 0.7, 0.1])
    got = weighted_average_precision(labels, scores, np.ones((1, 5)))[0]
    assert got == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)  # the first positive at rank 1, the second at rank 3


def test_without_a_positive_there_is_none():
    once = np.ones((1, 2))
    assert np.isnan(weighted_average_precision(np.zeros(2), np.arange(2.0), once)).all()
    assert np.isnan(weighted_average_precision(np.full(2, np.nan), np.arange(2.0), once)).all()


def test_a_draw_without_a_positive_is_undefined_and_the_others_are_not():
    got = weighted_average_precision(np.array([1.0, 0]), np.array([0.2, 0.8]), np.array([[1.0, 1], [0, 1]]))
    np.testing.assert_array_equal(got, [0.5, np.nan])
