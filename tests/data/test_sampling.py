"""What a step sees depends on seed and step alone, is balanced, and leaves nothing out."""

import numpy as np
import pytest

from attrinet.data.sampling import Sampler
from attrinet.errors import AttrinetError

LABELS = np.array([[1, 0], [0, 1], [1, np.nan], [0, 0], [1, 1], [0, np.nan], [1, 0], [np.nan, 1]], np.float32)
ROWS = np.arange(8)


def sampler(batch=2, seed=0, rows=ROWS):
    return Sampler(LABELS, rows, ("a", "b"), batch, seed)


def test_each_kind_of_step_walks_the_findings_round_robin():
    assert [sampler().draw("critic", k)[0] for k in range(5)] == [0, 1, 0, 1, 0]


def test_negatives_lack_and_positives_have_the_finding_and_unknown_is_in_neither():
    for kind in ("critic", "generator", "classifier"):
        for counter in range(40):
            c, neg, pos = sampler(batch=3).draw(kind, counter)
            assert (LABELS[neg, c] == 0).all() and (LABELS[pos, c] == 1).all()


def test_every_image_of_a_pool_comes_once_before_any_comes_twice():
    drawn = np.concatenate([sampler().draw("critic", 2 * k)[2] for k in range(4)])  # 8 positives of a, pool of 4
    for epoch in drawn.reshape(2, 4):
        assert sorted(epoch) == [0, 2, 4, 6]


def test_a_draw_is_the_same_whatever_was_drawn_before():
    used = sampler()
    for k in range(17):
        used.draw("generator", k)
    np.testing.assert_array_equal(used.draw("generator", 5)[1], sampler().draw("generator", 5)[1])


def test_seeds_and_kinds_draw_differently():
    def first(kind, seed):
        return tuple(np.concatenate([sampler(seed=seed).draw(kind, k)[1] for k in range(6)]))

    assert len({first("critic", 0), first("critic", 1), first("generator", 0)}) == 3


def test_a_finding_without_positives_or_negatives_is_refused_by_name():
    with pytest.raises(AttrinetError, match=r"b \(no positive image\)"):
        sampler(rows=np.array([0, 3]))


def test_annotated_positives_fill_about_the_asked_share_of_generator_steps():
    labels = np.repeat([[0.0], [1.0]], 50, 0)
    annotated = np.zeros((100, 1), bool)
    annotated[90:] = True
    drawing = Sampler(labels, np.arange(100), ("a",), 4, seed=3)
    drawing.oversample(annotated, 0.1)
    only = [annotated[drawing.draw("generator", k)[2]].all() for k in range(2000)]
    # 10 % by choice; a plain batch of 4 is all annotated about once in 625
    assert 0.08 < np.mean(only) < 0.125
    assert not any(annotated[drawing.draw("critic", k)[2]].all() for k in range(50))


def test_findings_without_annotations_keep_their_ordinary_batches():
    plain, oversampled = sampler(), sampler()
    oversampled.oversample(np.zeros(LABELS.shape, bool), 1.0)
    np.testing.assert_array_equal(plain.draw("generator", 3)[2], oversampled.draw("generator", 3)[2])
