"""How well a sum predicts a logit is the coefficient of determination of a straight line."""

import numpy as np
import pytest
from scipy import stats

from attrinet.metrics.completeness import sum_predicts_logit

ONCE = np.ones((1, 50))


def test_a_sum_that_is_the_logit_but_for_the_bias_is_exact():
    sums = np.random.default_rng(0).normal(size=50)
    (r2,), (residual,) = sum_predicts_logit(sums, sums - 1.7, ONCE)
    assert r2 == pytest.approx(1) and residual == pytest.approx(0, abs=1e-9)


def test_r2_is_that_of_the_regression_and_residual_keeps_the_slope_at_one():
    random = np.random.default_rng(1)
    sums = random.normal(size=50)
    logits = 3 * sums + random.normal(size=50)
    (r2,), (residual,) = sum_predicts_logit(sums, logits, ONCE)
    assert r2 == pytest.approx(stats.linregress(sums, logits).rvalue ** 2)
    assert residual == pytest.approx((logits - sums).std())
    weights = random.integers(0, 3, (1, 50)).astype(float)
    repeated = np.repeat(np.arange(50), weights[0].astype(int))
    (weighted,), _ = sum_predicts_logit(sums, logits, weights)
    assert weighted == pytest.approx(stats.linregress(sums[repeated], logits[repeated]).rvalue ** 2)


def test_a_constant_sum_predicts_nothing_and_a_constant_logit_asks_nothing():
    logits = np.random.default_rng(2).normal(size=50)
    (r2,), (residual,) = sum_predicts_logit(np.full(50, 4096.0), logits, ONCE)
    assert r2 == 0 and residual == pytest.approx(logits.std())
    assert np.isnan(sum_predicts_logit(logits, np.ones(50), ONCE)[0])
    assert np.isnan(sum_predicts_logit(logits[:1], logits[:1], ONCE[:, :1])).all()


def test_each_draw_has_its_own_figures_and_a_line_goes_through_any_two_images():
    sums, logits = np.array([0.0, 1, 2, 3]), np.array([0.0, 1, 0, 3])
    weights = np.array([[1.0, 1, 0, 0], [1, 1, 1, 0], [1, 0, 0, 0], [5, 2, 0, 1]])
    r2, residual = sum_predicts_logit(sums, logits, weights)
    np.testing.assert_allclose(r2, [np.nan, 0, np.nan, 1], atol=1e-12)
    np.testing.assert_allclose(residual, [0, (logits - sums)[:3].std(), np.nan, 0], atol=1e-7)


def test_a_sum_that_falls_where_the_logit_rises_explains_nothing():
    sums = np.random.default_rng(4).normal(size=50)
    (r2,), (residual,) = sum_predicts_logit(-sums, sums, ONCE)
    assert r2 == 0 and residual == pytest.approx(2 * sums.std())


def test_sums_of_any_scale_predict_as_well():
    sums = np.random.default_rng(3).normal(size=50)
    for scale in (1e-11, 1e11):
        (r2,), _ = sum_predicts_logit(scale * sums, scale * sums, ONCE)
        assert r2 == pytest.approx(1)


def test_blank_maps_predict_nothing_and_one_image_or_none_says_nothing():
    logits = np.array([0.5, -1.0, 2.0])
    r2, residual = sum_predicts_logit(np.zeros(3), logits, np.ones((1, 3)))
    assert r2 == [0] and residual[0] == pytest.approx(logits.std())
    for weights in ([[0.0, 1, 0]], [[0.0, 0, 0]]):
        r2, residual = sum_predicts_logit(np.array([1.0, 2, 3]), logits, np.array(weights))
        assert np.isnan([r2, residual]).all()
    r2, residual = sum_predicts_logit(np.empty(0), np.empty(0), np.empty((2, 0)))
    assert r2.shape == residual.shape == (2,) and np.isnan([r2, residual]).all()
    r2, _ = sum_predicts_logit(np.zeros(3), np.ones(3), np.ones((1, 3)))
    assert np.isnan(r2).all()  # there was nothing to predict
