"""Pointing game and intersection over union, by hand; blank maps have no score."""

import numpy as np
import pytest

from attrinet.metrics.iou import THRESHOLDS, best_threshold, ious
from attrinet.metrics.pointing_game import pointing_game

MASK = np.zeros((4, 4), bool)
MASK[0] = True  # a quarter of the image


def maps(*values):
    out = np.zeros((len(values), 4, 4))
    for map, places in zip(out, values, strict=True):
        for place, value in places.items():
            map[place] = value
    return out


def masks(count):
    return np.repeat(MASK[None], count, 0)


def test_the_strongest_pixel_hits_or_misses():
    found = pointing_game(maps({(0, 1): 2, (3, 3): 1.9}, {(0, 1): 1.9, (3, 3): 2}, {(2, 2): -5}), masks(3))
    assert found[0] == 1 and found[1] == 0 and np.isnan(found[2])


def test_several_strongest_pixels_hit_as_one_of_them_drawn_would():
    found = pointing_game(np.concatenate([maps({(0, 0): 1, (3, 3): 1}), np.ones((1, 4, 4))]), masks(2))
    np.testing.assert_allclose(found, [0.5, 0.25])  # a uniform map: the annotated share


def test_iou_counts_pixels_at_or_above_a_share_of_the_maximum():
    one = maps({(0, 0): 10, (0, 1): 5, (1, 0): 4, (1, 1): 1, (2, 2): -20})
    got = ious(one, masks(1), np.array([0.1, 0.4, 0.5, 1.0]))[0]
    np.testing.assert_allclose(got, [2 / 6, 2 / 5, 2 / 4, 1 / 4])
    assert np.isnan(ious(-one.clip(0), masks(1))).all()


def test_the_best_threshold_is_that_of_largest_mean_iou_where_maps_are_not_blank():
    chosen = maps({(0, k): 1 for k in range(4)} | {(1, k): 0.42 for k in range(4)}, {})
    best = best_threshold(ious(chosen, masks(2)))
    assert best == pytest.approx(0.45)  # the first that leaves the second line out
    assert best in THRESHOLDS and np.isnan(best_threshold(ious(maps({}), masks(1))))


def test_each_map_is_thresholded_at_its_own_maximum_however_faint():
    faint, strong = {(0, 0): 0.1, (1, 0): 0.04}, {(0, 0): 10, (0, 1): 6, (1, 0): 4}
    np.testing.assert_allclose(ious(maps(faint, strong), masks(2), np.array([0.5])), [[1 / 4], [2 / 4]])
