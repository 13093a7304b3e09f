"""Bootstrap over patients: right coverage, wider when images of a patient are copies, memory in blocks."""

import numpy as np
import pytest

from attrinet.metrics import intervals
from attrinet.metrics.intervals import FEWEST_PATIENTS, Bootstrap, weighted_mean


def mean_interval(values, patients, **options):
    return Bootstrap(np.asarray(patients), **options).intervals(lambda w: weighted_mean(values, w)[:, None])[0]


def test_interval_of_a_mean_is_that_of_the_standard_error():
    values = np.random.default_rng(0).normal(5, 2, 400)
    got = mean_interval(values, np.arange(400), draws=4000)
    error = values.std() / np.sqrt(400)
    assert got.value == pytest.approx(values.mean())
    assert (got.high - got.low) / (2 * 1.96 * error) == pytest.approx(1, abs=0.06)


def test_nineteen_of_twenty_intervals_cover_the_truth():
    covered = 0
    for seed in range(200):
        values = np.random.default_rng(seed).normal(0, 1, 60)
        got = mean_interval(values, np.arange(60), draws=300, seed=seed)
        covered += got.low <= 0 <= got.high
    assert 178 <= covered <= 199  # 95 % of 200, four standard deviations either way


def test_four_copies_of_each_patient_do_not_narrow_the_interval():
    values = np.random.default_rng(1).normal(0, 1, 50)
    alone = mean_interval(values, np.arange(50))
    copies = mean_interval(np.repeat(values, 4), np.repeat(np.arange(50), 4))
    assert copies.low == pytest.approx(alone.low) and copies.high == pytest.approx(alone.high)


def test_the_same_seed_pairs_two_methods_and_blocks_change_nothing(monkeypatch):
    random = np.random.default_rng(2)
    a = random.normal(0, 10, 80)
    b = a + 0.1
    w = Bootstrap(np.arange(80), 200)
    (difference,) = w.intervals(lambda w: (weighted_mean(b, w) - weighted_mean(a, w))[:, None])
    assert difference.high - difference.low < 1e-9  # unpaired it would be about 6
    whole = mean_interval(a, np.arange(80))
    monkeypatch.setattr(intervals, "BLOCK", 80 * 7)
    assert mean_interval(a, np.arange(80)) == whole


def test_undefined_draws_give_no_bounds_rather_than_wrong_ones():
    values = np.array([1.0] + [np.nan] * 50)

    def twice(w):  # the second is undefined in three draws of four
        one = weighted_mean(values, w)
        return np.column_stack([one, np.where(w[:, 1] == 2, one, np.nan)])

    kept, lost = Bootstrap(np.arange(51), draws=200).intervals(twice)
    assert (kept.value, kept.low) == (1, 1) and np.isnan(lost.low) and np.isnan(lost.high)
    assert np.isnan(mean_interval(np.full(4, np.nan), np.arange(4)).value)


def test_a_mean_over_findings_is_of_the_same_findings_in_every_draw():
    # AUC-like: two findings that everybody tells of, near 0.9, and one of three patients, 0.2
    values = np.stack([np.full(60, 0.91), np.full(60, 0.92), np.r_[np.full(3, 0.2), np.full(57, np.nan)]])
    bootstrap = Bootstrap(np.arange(60), draws=500)

    def statistic(w):
        return np.column_stack([weighted_mean(each, w) for each in values])[:, :, None]

    found = bootstrap.with_mean(statistic, np.zeros((3, 1), bool))
    assert [each[0].value for each in found] == pytest.approx([0.91, 0.92, 0.2, 0.67667], abs=1e-4)
    mean = found[-1][0]  # a draw without the three patients says nothing of this mean
    assert (mean.low, mean.high) == pytest.approx((0.67667, 0.67667), abs=1e-4)
    (bare,) = bootstrap.with_mean(statistic, np.array([[False], [False], [True]]))[-1]
    assert bare.value == mean.value and np.isnan([bare.low, bare.high]).all()
    values[2] = np.nan  # a finding without a value: the mean is over the others, in the open
    (rest,) = bootstrap.with_mean(statistic, np.array([[False], [False], [True]]))[-1]
    assert (rest.value, rest.low) == pytest.approx((0.915, 0.915))
    values[:] = np.nan
    assert np.isnan(bootstrap.with_mean(statistic, np.ones((3, 1), bool))[-1][0].value)


def test_numbers_do_not_share_their_bounds_and_more_is_computed_of_them_draw_by_draw():
    random = np.random.default_rng(5)
    values = random.random((2, 2, 40))  # finding, number, image
    values[1, 1] = np.nan  # the second finding has no second number
    bootstrap = Bootstrap(np.arange(40), draws=60)

    def statistic(w):
        return np.array([[weighted_mean(each, w) for each in numbers] for numbers in values]).transpose(2, 0, 1)

    lone = np.array([[True, False], [False, False]])
    found = bootstrap.with_mean(statistic, lone, lambda m: m[..., :1] / m[..., 1:])
    assert [len(each) for each in found] == [3, 3, 3]
    bare = [[bool(np.isnan(one.low)) for one in each] for each in found]
    assert bare == [[True, False, True], [False, True, True], [True, False, True]]
    value = [[one.value for one in each] for each in found]
    a, b, c = values[0, 0].mean(), values[0, 1].mean(), values[1, 0].mean()
    np.testing.assert_allclose(value, [[a, b, a / b], [c, np.nan, np.nan], [(a + c) / 2, b, (a + c) / 2 / b]])
    (free, _, _) = bootstrap.with_mean(statistic, np.zeros((2, 2), bool), lambda m: m[..., :1] / m[..., 1:])
    ratios = bootstrap.intervals(lambda w: (weighted_mean(values[0, 0], w) / weighted_mean(values[0, 1], w))[:, None])
    assert free[2] == ratios[0]


def test_a_group_of_images_is_lone_where_too_few_patients_have_them_all():
    bootstrap = Bootstrap(np.array([*"aabcdefgh", *"zzzzzzzz"]))
    eight, seven, one = np.arange(1, 9), np.arange(2, 9), np.arange(9, 17)  # places: b … h and a, b … h, z
    assert bootstrap.lone(seven) and bootstrap.lone(one) and not bootstrap.lone(eight)
    assert bootstrap.lone(np.zeros(17, bool)) and not bootstrap.lone(np.ones(17, bool))
    assert bootstrap.lone(eight, one)


def test_intervals_of_the_fewest_patients_that_have_one_miss_the_truth_about_every_ninth_time():
    random, missed = np.random.default_rng(0), 0
    for _ in range(400):
        values = random.normal(size=FEWEST_PATIENTS)
        bootstrap = Bootstrap(np.arange(FEWEST_PATIENTS), 200)
        (found,) = bootstrap.intervals(lambda w, v=values: weighted_mean(v, w)[:, None])
        missed += not found.low <= 0 <= found.high
    assert 0.09 < missed / 400 < 0.15


def test_bounds_are_the_percentiles_of_the_defined_draws_if_half_are():
    # one number of two patients: a draw is defined where the first is in it
    bootstrap, draws = Bootstrap(np.arange(2), level=0.9), np.arange(101.0)
    got = bootstrap._interval(0.0, draws)
    assert (got.low, got.high) == pytest.approx((5, 95))
    half = bootstrap._interval(0.0, np.r_[draws[:50], np.full(50, np.nan)])
    assert half.low == pytest.approx(2.45)
    fewer = bootstrap._interval(0.0, np.r_[draws[:49], np.full(51, np.nan)])
    assert np.isnan(fewer.low) and np.isnan(fewer.high)


def test_there_are_as_many_draws_as_asked_for_also_one_at_a_time(monkeypatch):
    monkeypatch.setattr(intervals, "BLOCK", 1)
    sizes = []
    Bootstrap(np.arange(3), draws=5).intervals(lambda w: (sizes.append(len(w)), w)[1])
    assert sizes == [1, 1, 1, 1, 1, 1]  # the data as it is, and five draws


def test_means_over_findings_are_draw_by_draw_and_undefined_where_one_of_them_is():
    nan = np.nan
    values = np.array([[[1.0], [nan]], [[2], [4]], [[nan], [nan]]])  # draws, findings, numbers
    np.testing.assert_array_equal(intervals.mean_over(values, np.ones((2, 1), bool)), [[nan], [3], [nan]])
    np.testing.assert_array_equal(intervals.mean_over(values, np.array([[True], [False]])), [[1], [2], [nan]])
    assert np.isnan(intervals.mean_over(values, np.zeros((2, 1), bool))).all()
    pairs = np.array([[[1.0, 5], [3, nan]]])
    np.testing.assert_array_equal(intervals.mean_over(pairs, np.array([[True, True], [True, False]])), [[2, 5]])
