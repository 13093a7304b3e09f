"""Comparing two methods on the same images: the difference, its interval, and a t-test."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from attrinet.metrics.paired import auc_difference, paired_t_test, score_difference


def test_the_auc_difference_is_that_of_the_aucs_and_is_found_where_it_is_real():
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, (200, 2)).astype(float)
    bad, good = labels + random.normal(0, 3, (200, 2)), labels + random.normal(0, 0.7, (200, 2))
    found = auc_difference(labels, bad, good, ("a", "b"), np.arange(200), draws=300)
    each = [roc_auc_score(labels[:, c], good[:, c]) - roc_auc_score(labels[:, c], bad[:, c]) for c in range(2)]
    assert [found[name].value for name in ("a", "b", "mean")] == pytest.approx([*each, np.mean(each)])
    assert found["mean"].low > 0
    same = auc_difference(labels, good, good, ("a", "b"), np.arange(200), draws=50)["mean"]
    assert same.value == same.low == same.high == 0


def test_pairing_finds_a_small_difference_among_images_that_differ_much():
    random = np.random.default_rng(1)
    a = random.normal(0, 10, 80)
    b = a + 0.1 + random.normal(0, 0.05, 80)
    a[3], b[7] = np.nan, np.nan
    finding = np.array(["x"] * 50 + ["y"] * 30)
    found = score_difference(a, b, finding, np.arange(80), draws=300)
    assert found["x"].value == pytest.approx(np.nanmean((b - a)[:50]))
    assert found["mean"].value == pytest.approx((found["x"].value + found["y"].value) / 2)
    assert 0 < found["mean"].low < found["mean"].high < 0.2
    result = paired_t_test(a, b)
    known = ~np.isnan(b - a)
    assert result.pairs == known.sum() == 78
    want = stats.ttest_1samp((b - a)[known], 0)  # the textbook's way to the same
    assert (result.t, result.p) == pytest.approx((want.statistic, want.pvalue))
    assert result.difference == pytest.approx((b - a)[known].mean()) and result.p < 1e-6


def test_the_t_statistic_by_hand():
    result = paired_t_test(np.array([1.0, 2, 3]), np.array([2.0, 4, 6]))
    assert result.difference == 2 and result.t == pytest.approx(2 / (1 / np.sqrt(3)))


def test_images_of_few_patients_have_a_difference_and_no_interval():
    a, b = np.array([0.1, 0.2, *np.linspace(0, 1, 8)]), np.array([0.3, 0.2, *np.linspace(0, 1, 8) ** 2])
    found = score_difference(a, b, np.repeat(["x", "y"], [2, 8]), np.array([*"pp", *"pqrstuvw"]), draws=20)
    assert found["x"].value == pytest.approx(0.1) and np.isnan([found["x"].low, found["x"].high]).all()
    assert not np.isnan(found["y"].low) and np.isnan(found["mean"].low)


@pytest.mark.parametrize("positives, negatives, bounded", [(8, 8, True), (7, 8, False), (8, 7, False), (1, 20, False)])
def test_a_difference_of_auc_has_bounds_where_both_kinds_are_of_enough_patients(positives, negatives, bounded):
    labels = np.repeat([1.0, 0, np.nan], [positives, negatives, 9])
    a, b = np.random.default_rng(0).random((2, len(labels), 1))
    found = auc_difference(labels[:, None], a, b, ("x",), np.arange(len(labels)), draws=50)
    for one in found.values():
        assert np.isfinite(one.value) and np.isfinite([one.low, one.high]).all() == bounded


def test_images_of_one_patient_count_as_one_for_the_bounds_of_auc():
    labels, (a, b) = np.repeat([1.0, 0], 8), np.random.default_rng(0).random((2, 16, 1))
    patients = np.r_[0, 0, np.arange(6), np.arange(10, 18)]
    assert np.isnan(auc_difference(labels[:, None], a, b, ("x",), patients, draws=20)["x"].low)


def test_too_few_pairs_have_no_t_test():
    assert np.isnan(paired_t_test(np.array([1.0, np.nan]), np.array([2.0, 1])).p)
    assert np.isnan(paired_t_test(np.array([np.nan]), np.array([1.0])).difference)


def test_two_pairs_are_enough_and_one_has_a_difference_but_no_test():
    two = paired_t_test(np.array([0.0, 0]), np.array([1.0, 3]))
    assert two.pairs == 2 and two.t == pytest.approx(2) and two.p == pytest.approx(stats.t.sf(2, 1) * 2)
    one = paired_t_test(np.array([1.0, np.nan]), np.array([3.0, 1]))
    assert one.pairs == 1 and one.difference == 2 and np.isnan(one.t) and np.isnan(one.p)


def test_the_seed_decides_the_draws():
    random = np.random.default_rng(4)
    a, b, who = random.normal(size=30), random.normal(size=30), np.arange(30)
    scores = lambda seed: score_difference(a, b, np.repeat("x", 30), who, draws=40, seed=seed)  # noqa: E731
    assert scores(1) == scores(1) != scores(2)
    labels = np.arange(30)[:, None] % 2 * 1.0
    aucs = lambda seed: auc_difference(labels, a[:, None], b[:, None], ("x",), who, draws=40, seed=seed)  # noqa: E731
    assert aucs(1) == aucs(1) != aucs(2)
