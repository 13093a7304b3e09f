"""Class, disease and confounder sensitivity give the values one can work out by hand."""

import numpy as np
import pytest

from attrinet.metrics.class_sensitivity import class_sensitivity, draw_grids
from attrinet.metrics.confounder_sensitivity import confounder_sensitivity
from attrinet.metrics.disease_sensitivity import disease_sensitivity


def test_grids_hold_one_confident_true_positive_and_three_true_negatives():
    random = np.random.default_rng(0)
    labels = random.choice([0.0, 1.0, np.nan], 200, p=[0.5, 0.4, 0.1])
    probabilities = random.random(200)
    grids = draw_grids(labels, probabilities, 0.6, count=20)
    assert grids.shape == (20, 4) and len(set(grids[:, 0])) == 20
    assert (labels[grids[:, 0]] == 1).all() and (labels[grids[:, 1:]] == 0).all()
    assert (probabilities[grids[:, 1:]] < 0.6).all()
    hits = np.sort(probabilities[(labels == 1) & (probabilities >= 0.6)])[::-1]
    np.testing.assert_array_equal(probabilities[grids[:, 0]], hits[:20])
    # sixty negatives are wanted and there are about fifty: all come, some twice
    negatives = np.flatnonzero((labels == 0) & (probabilities < 0.6))
    assert set(grids[:, 1:].ravel()) == set(negatives[np.argsort(probabilities[negatives])][:60])


def test_no_true_positive_gives_no_grid_and_few_negatives_are_reused():
    assert draw_grids(np.array([1.0, 0.0]), np.array([0.2, 0.1]), 0.5).shape == (0, 4)
    assert draw_grids(np.array([1.0, 0.0]), np.array([0.9, 0.1]), 0.5).tolist() == [[0, 1, 1, 1]]


def test_class_sensitivity_is_one_where_negatives_are_blank_and_a_quarter_where_all_are_alike():
    assert class_sensitivity(np.array([[3.0, 0, 0, 0]])).mean == 1
    assert class_sensitivity(np.full((5, 4), 2.0)).mean == 0.25
    mixed = class_sensitivity(np.array([[1.0, 1, 0, 0], [0, 0, 0, 0]]))
    assert mixed.mean == 0.5 and mixed.blank == 1 and np.isnan(mixed.scores[1])


def test_disease_sensitivity_is_the_share_of_positive_attribution_inside():
    attribution = np.zeros((3, 4, 4))
    attribution[0, 0, 0], attribution[0, 3, 3], attribution[0, 2, 2] = 3, 1, -50
    attribution[1] = 1
    attribution[2] = -1
    masks = np.zeros((3, 4, 4), bool)
    masks[:, 0, :] = True
    result = disease_sensitivity(attribution, masks)
    np.testing.assert_allclose(result.inside[:2], [0.75, 0.25])
    assert np.isnan(result.inside[2]) and result.blank == 1
    np.testing.assert_allclose(result.enrichment[:2], [3, 1])
    np.testing.assert_allclose(result.area, 0.25)


def test_published_variant_takes_off_the_minimum_first():
    attribution = np.array([[[2.0, 4.0], [3.0, 2.0]]])
    mask = np.array([[[False, True], [False, False]]])
    assert disease_sensitivity(attribution, mask).inside[0] == pytest.approx(4 / 11)
    assert disease_sensitivity(attribution, mask, published=True).inside[0] == pytest.approx(2 / 3)


def test_confounder_sensitivity_counts_the_tag_among_the_strongest_tenth():
    center = np.arange(100.0).reshape(10, 10)
    tag = np.zeros((10, 10), bool)
    tag[9, 5:] = tag[0, :5] = True  # five of ten pixels are in the top tenth
    assert confounder_sensitivity(center, tag) == 0.5
    assert confounder_sensitivity(np.zeros((10, 10)), tag) == 0  # a flat centre points nowhere
    with pytest.raises(ValueError, match="empty"):
        confounder_sensitivity(center, np.zeros((10, 10), bool))
