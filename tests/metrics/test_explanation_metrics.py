"""Class, disease and confounder sensitivity give the values one can work out by hand."""

import numpy as np
import pytest

from attrinet.metrics.class_sensitivity import class_sensitivity, draw_grids
from attrinet.metrics.confounder_sensitivity import confounder_sensitivity, strongest
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
    with pytest.raises(ValueError, match="empty"):
        confounder_sensitivity(center, np.zeros((10, 10), bool))


def test_a_small_tag_on_a_small_map_is_all_or_nothing():
    center = np.array([[4.0, 3], [2, -1]])
    scores = [confounder_sensitivity(center, np.eye(4, dtype=bool)[k].reshape(2, 2)) for k in range(4)]
    assert scores == [1, 0, 0, 0]  # a tenth of four pixels is one


def test_pixels_tied_at_the_edge_of_the_top_share_count_as_far_as_there_is_room():
    tag = np.zeros((10, 10), bool)
    tag[0, :4] = True
    assert confounder_sensitivity(np.ones((10, 10)), tag) == pytest.approx(0.1)  # a flat map knows nothing
    segment = np.zeros((10, 10))
    segment[:2] = 1  # all evidence in one segment over the tag: 20 pixels tied for 10 places
    assert confounder_sensitivity(segment, tag) == pytest.approx(0.5)
    segment[0, 0] = 2  # one pixel above, 19 tied for 9 places
    assert confounder_sensitivity(segment, tag) == pytest.approx((1 + 3 * 9 / 19) / 4)


def test_a_probability_at_the_threshold_is_called_and_without_negatives_there_is_no_grid():
    assert draw_grids(np.array([1.0, 0]), np.array([0.5, 0.1]), 0.5).tolist() == [[0, 1, 1, 1]]
    none = draw_grids(np.array([1.0, 1]), np.array([0.9, 0.8]), 0.5)
    assert none.shape == (0, 4) and none.dtype.kind == "i"


def test_an_image_is_called_in_a_grid_where_the_model_calls_it():
    threshold = float(np.float32(0.3))  # a little above 0.3
    assert threshold > 0.3
    assert draw_grids(np.array([1.0, 0]), np.array([0.3, 0.1]), threshold).tolist() == [[0, 1, 1, 1]]
    assert not len(draw_grids(np.array([1.0, 0]), np.array([0.9, 0.3]), threshold))


def test_the_same_seed_draws_the_same_grids_and_another_seed_others():
    labels, probabilities = np.repeat([1.0, 0], 20), np.repeat([0.9, 0.1], 20)
    draw = lambda seed: draw_grids(labels, probabilities, 0.5, seed=seed).tolist()  # noqa: E731
    assert draw(1) == draw(1) != draw(2)


def test_faint_grids_count_and_grids_that_are_all_blank_have_no_mean():
    faint = class_sensitivity(np.full((1, 4), 0.1))
    assert faint.mean == 0.25 and faint.blank == 0
    assert np.isnan(class_sensitivity(np.zeros((2, 4))).mean)


def test_published_variant_scales_each_map_by_itself_and_gives_a_flat_one_zero():
    attribution = np.array([[[2.0, 4], [3, 2]], [[20, 60], [40, 20]], [[5, 5], [5, 5]]])
    mask = np.zeros((3, 2, 2), bool)
    mask[:, 0, 1] = mask[2, 0, 0] = True
    result = disease_sensitivity(attribution, mask, published=True)
    np.testing.assert_allclose(result.inside, [2 / 3, 2 / 3, 0])
    np.testing.assert_allclose(result.area, [0.25, 0.25, 0.5])


def test_a_faint_map_has_a_score():
    faint = np.array([[[0.1, 0.3], [0, 0]]])
    assert disease_sensitivity(faint, faint > 0.2).inside[0] == pytest.approx(0.75)


def test_the_top_share_of_a_centre_can_be_chosen():
    center = np.arange(100.0).reshape(10, 10)
    assert confounder_sensitivity(center, center >= 60, top=0.2) == 0.5


def test_images_of_equal_probability_come_in_the_order_of_their_numbers():
    labels, probabilities = np.array([1.0] * 40 + [0.0] * 40), np.array([0.9] * 40 + [0.1] * 40)
    grids = draw_grids(labels, probabilities, 0.5, count=5)
    assert grids[:, 0].tolist() == [39, 38, 37, 36, 35]
    assert set(grids[:, 1:].ravel()) == set(range(40, 55))


@pytest.mark.parametrize("side", [2, 3, 5, 8, 64])
def test_the_strongest_are_the_first_of_the_sorted_pixels(side):
    center = np.random.default_rng(side).permutation(side**2).reshape(side, side) - side**2 / 2 - 0.25
    for top in (0.05, 0.1, 0.3, 0.5):
        count = max(round(top * side**2), 1)
        want = np.zeros(side**2, bool)
        want[np.argsort(-np.abs(center).ravel())[:count]] = True
        assert (strongest(center, top).ravel() == want).all()


def test_two_pixels_tied_for_the_last_place_are_outside():
    center = np.arange(100.0).reshape(10, 10)
    center.flat[89] = 90  # the eleventh is as strong as the tenth
    assert strongest(center, 0.1).sum() == 11  # one more than the share is rounding
    center.flat[88] = 90
    assert strongest(center, 0.1).sum() == 9


def test_masks_of_zeros_and_ones_or_of_a_picture_count_as_what_they_show():
    random = np.random.default_rng(0)
    maps, masks = random.normal(size=(3, 8, 8)), random.random((3, 8, 8)) > 0.7
    want = disease_sensitivity(maps, masks)
    for scale in (1, 255):
        found = disease_sensitivity(maps, (masks * scale).astype(np.uint8))
        np.testing.assert_array_equal((found.inside, found.area), (want.inside, want.area))
        assert confounder_sensitivity(maps[0], (masks[0] * scale).astype(np.uint8)) == \
            confounder_sensitivity(maps[0], masks[0])
