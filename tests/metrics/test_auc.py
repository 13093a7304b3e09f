"""AUC is the Mann–Whitney statistic, weights are repetitions, and thresholds are Youden's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from attrinet.metrics.auc import auc, weighted_auc
from attrinet.metrics.average_precision import weighted_average_precision
from attrinet.metrics.youden import youden_threshold


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 60), st.integers(1, 6))
def test_auc_agrees_with_scikit_learn_also_with_ties(seed, n, levels):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, n).astype(float)
    scores = random.integers(0, levels + 1, n).astype(float)
    labels[:2] = 0, 1
    got = weighted_auc(labels, scores, np.ones((1, n)))[0]
    assert got == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@pytest.mark.parametrize("labels", [[0, 1], [1, 0]])
@pytest.mark.parametrize("score", [-np.inf, np.inf, 0.0])
def test_scores_that_are_alike_are_a_tie_however_low_they_are(labels, score):
    labels, scores = np.array(labels, float), np.full(2, score)
    assert weighted_auc(labels, scores, np.ones((1, 2))) == 0.5
    assert weighted_average_precision(labels, scores, np.ones((1, 2))) == 0.5


def test_a_weight_of_three_is_the_image_three_times():
    random = np.random.default_rng(0)
    labels, scores = random.integers(0, 2, 30).astype(float), random.random(30)
    weights = random.integers(0, 4, 30)
    repeated = np.repeat(np.arange(30), weights)
    got = weighted_auc(labels, scores, weights[None].astype(float))[0]
    assert got == pytest.approx(roc_auc_score(labels[repeated], scores[repeated]), abs=1e-12)


def test_unknown_labels_are_left_out_and_one_class_alone_has_no_auc():
    labels = np.array([[1, 1], [0, 1], [np.nan, np.nan], [1, 1], [0, 1]])
    scores = np.array([[0.9, 0.1], [0.1, 0.2], [0.0, 0.3], [0.8, 0.4], [0.85, 0.5]])
    result = auc(labels, scores, ("a", "b"))
    assert result.per_finding["a"] == 0.75  # of four pairs the one of 0.8 and 0.85 is wrong
    assert np.isnan(result.per_finding["b"]) and result.mean == 0.75
    assert np.isnan(auc(np.full((3, 1), np.nan), np.zeros((3, 1)), ("a",)).mean)


def test_youden_threshold_maximises_sensitivity_plus_specificity_over_all_thresholds():
    random = np.random.default_rng(3)
    labels = random.integers(0, 2, 80).astype(float)
    labels[:7] = np.nan
    scores = np.clip(0.3 * np.nan_to_num(labels) + random.random(80) * 0.7, 0, 1)
    result = youden_threshold(labels, scores)
    known = ~np.isnan(labels)

    def index(t):
        called = scores[known] >= t
        return called[labels[known] == 1].mean() + (~called)[labels[known] == 0].mean() - 1

    assert index(result.threshold) == pytest.approx(max(index(t) for t in np.unique(scores)))
    assert result.sensitivity + result.specificity - 1 == pytest.approx(index(result.threshold))
    assert not np.any(np.isclose(scores, result.threshold, atol=1e-9))  # half-way, on no image


@pytest.mark.parametrize("labels", [[1.0, 1.0], [0.0, 0.0], [np.nan, np.nan], [np.nan, 1.0]])
def test_without_both_classes_the_threshold_is_one_half(labels):
    result = youden_threshold(np.array(labels), np.array([0.2, 0.7]))
    assert result.threshold == 0.5 and np.isnan([result.sensitivity, result.specificity]).all()


def test_a_draw_without_one_of_the_classes_is_undefined_and_the_others_are_not():
    labels, scores = np.array([1.0, 0, 0]), np.array([0.5, 0.2, 0.8])
    got = weighted_auc(labels, scores, np.array([[1.0, 1, 1], [0, 1, 1], [0.5, 0.5, 0]]))
    np.testing.assert_array_equal(got, [0.5, np.nan, 1])


def test_where_all_have_one_probability_the_threshold_is_that():
    result = youden_threshold(np.array([1.0, 0]), np.array([0.4, 0.4]))
    assert (result.threshold, result.sensitivity, result.specificity) == (0.4, 1, 0)
