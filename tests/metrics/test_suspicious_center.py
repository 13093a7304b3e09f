"""A centre that is strong on something drawn at one place is suspicious; one that is strong on anatomy is not."""

import functools
import itertools
import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, uniform_filter

from attrinet.data.phantom import phantom_source
from attrinet.data.prepare import prepare
from attrinet.data.shortcut import Tag
from attrinet.metrics.suspicious_center import ALARM, DETAIL, WINDOW, likeness, suspicious_center

SIZE, TAGGED_SHARE = 64, 0.5


@pytest.fixture(scope="module")
def phantoms():
    return drawn_phantoms()


@functools.cache  # processes forked after a first run, as of mutation testing, need not draw them again
def drawn_phantoms() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grey images with and without an enlarged heart, and where the heart is in the mean of those that have one."""
    with tempfile.TemporaryDirectory() as folder:
        store = prepare(phantom_source(500, SIZE, 3), Path(folder) / "store", SIZE, workers=1, progress=False)
        grey = np.load(store.path / "images.npy")
        c = store.findings.index("Cardiomegaly")
        positive = np.flatnonzero(store.labels[:, c] == 1)
        heart = np.mean([store.mask(r, c) for r in positive], axis=0)
    return grey[positive], grey[store.labels[:, c] == 0][:200], heart


def tagged(images: np.ndarray, tag: Tag) -> np.ndarray:
    half = round(TAGGED_SHARE * len(images))
    return np.stack([tag.drawn(image, row) if row < half else image for row, image in enumerate(images)])


@pytest.mark.parametrize("kind", ["text", "marker", "border"])
def test_a_centre_on_a_tag_of_one_place_raises_the_alarm_and_says_where(phantoms, kind):
    positives, negatives, heart = phantoms
    tag = Tag(kind)
    drawn = tag.mask(SIZE, 0)
    found = suspicious_center(heart + 2 * gaussian_filter(drawn.astype(float), 0.5), tagged(positives, tag), negatives)
    assert found.alarm
    near = np.argwhere(drawn) - (found.row, found.column)
    assert np.abs(near).max(1).min() <= 2


def test_a_centre_on_anatomy_raises_none_with_or_without_a_tag_elsewhere(phantoms):
    positives, negatives, heart = phantoms
    assert suspicious_center(heart, positives, negatives).score < ALARM / 1.5
    assert not suspicious_center(heart, tagged(positives, Tag()), negatives).alarm  # drawn, but not listened to


def test_what_all_images_show_is_no_reason_for_suspicion(phantoms):
    positives, negatives, _ = phantoms
    every = [np.stack([Tag().drawn(image, 0) for image in images]) for images in (positives, negatives)]
    assert not suspicious_center(Tag().mask(SIZE, 0).astype(float), *every).alarm


def test_a_tag_that_wanders_is_not_found(phantoms):
    """A limit of the score, stated in its docstring."""
    positives, negatives, _ = phantoms
    wandering = tagged(positives, Tag(place="anywhere"))
    assert not suspicious_center(np.random.default_rng(0).random((SIZE, SIZE)), wandering, negatives).alarm


def test_likeness_is_the_mean_correlation_over_pairs():
    images = np.random.default_rng(1).integers(0, 256, (6, 20, 20))
    side = 20
    detail = [x - gaussian_filter(x.astype(np.float32), 1.0) for x in images]

    def norm(d, r, c):  # a pixel's own 3 × 3 window
        return np.sqrt((d[r - 1 : r + 2, c - 1 : c + 2] ** 2).mean()) + 1

    r = c = side // 2
    pairs = [(i, j) for i in range(6) for j in range(6) if i != j]
    by_hand = np.mean([
        detail[i][y, x] / norm(detail[i], y, x) * detail[j][y, x] / norm(detail[j], y, x)
        for i, j in pairs for y in range(r - 1, r + 2) for x in range(c - 1, c + 2)
    ])
    assert likeness(images)[r, c] == pytest.approx(by_hand, abs=1e-5)


def test_fewer_than_two_images_of_a_kind_have_no_score():
    found = suspicious_center(np.ones((8, 8)), np.zeros((1, 8, 8)), np.zeros((5, 8, 8)))
    assert math.isnan(found.score) and not found.alarm


def test_likeness_is_one_for_copies_and_zero_for_strangers():
    random = np.random.default_rng(2)
    assert likeness(np.repeat(random.integers(0, 256, (1, 64, 64)), 5, 0)).mean() == pytest.approx(1, abs=0.05)
    assert likeness(random.integers(0, 256, (200, 64, 64))).mean() == pytest.approx(0, abs=0.001)


def test_borders_without_any_detail_are_like_nothing():
    images = (255 * np.random.default_rng(2).random((8, 64, 64)) ** 8).astype(np.uint8)  # far apart: rounding shows
    images[:, :, 40:] = 0
    found = likeness(images)
    assert np.isfinite(found).all() and np.abs(found[:, 48:]).max() < 1e-6


def test_two_images_of_a_kind_are_enough_and_one_says_no_place():
    random = np.random.default_rng(5)
    found = suspicious_center(random.random((16, 16)), *random.integers(0, 256, (2, 2, 16, 16)))
    assert math.isfinite(found.score)
    none = suspicious_center(np.ones((8, 8)), np.zeros((1, 8, 8)), np.zeros((5, 8, 8)))
    assert (none.row, none.column) == (0, 0)


@pytest.mark.parametrize("contrast", [1, 0.002])
def test_likeness_of_larger_images_looks_at_a_wider_window(contrast):
    """The definition written out with SciPy's filters, at a size where window and blur are not their smallest; also
    where detail is less than a grey level."""
    side, count = 160, 4
    images = np.random.default_rng(5).integers(0, 256, (count, side, side)) * contrast
    window = round(WINDOW * side) | 1
    assert window > 3 and DETAIL * side > 1
    detail = []
    for x in images.astype(np.float64):
        fine = x - gaussian_filter(x, DETAIL * side)
        detail.append(fine / (np.sqrt(uniform_filter(fine**2, window)) + 1))
    pairs = [a * b for a, b in itertools.permutations(detail, 2)]
    by_hand = uniform_filter(np.mean(pairs, 0), window)
    np.testing.assert_allclose(likeness(images), by_hand, atol=1e-5 * contrast)


def test_only_the_asked_share_of_a_centre_is_looked_at():
    random = np.random.default_rng(6)
    positives, negatives = (random.integers(0, 256, (30, 64, 64)) for _ in range(2))
    positives[:, 40:56, 40:56] = positives[0, 40:56, 40:56]  # the same in all
    center = np.zeros((64, 64))
    center[:8, :8], center[40:56, 40:56] = 2, 1  # stronger elsewhere, with which a top share of 64 pixels is full
    assert suspicious_center(center, positives, negatives, 320 / 64**2).score > 0.5
    assert suspicious_center(center, positives, negatives, 64 / 64**2).score < 0.5


def test_a_flat_centre_is_not_judged():
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32)).astype(np.float32)
    found = suspicious_center(np.zeros((32, 32)), images, images)
    assert math.isnan(found.score) and (found.row, found.column) == (0, 0)
