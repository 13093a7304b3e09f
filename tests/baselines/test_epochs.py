"""Batches of a baseline: everything comes once an epoch, and nothing depends on the past."""

import numpy as np

from attrinet.baselines.epochs import Epochs

ROWS = np.arange(100, 110)


def test_every_row_comes_once_before_any_comes_again_and_no_batch_is_short():
    epochs = Epochs(ROWS, 4, seed=1)
    assert epochs.steps(3) == 8 and epochs.steps(1) == 3
    stream = np.concatenate([epochs.batch(k) for k in range(epochs.steps(2))])
    assert len(stream) == 20
    assert sorted(stream[:10]) == sorted(stream[10:]) == list(ROWS)
    assert list(stream[:10]) != list(stream[10:]) and list(stream[:10]) != list(ROWS)


def test_an_epoch_ends_with_the_step_that_takes_its_last_row():
    epochs = Epochs(ROWS, 4, seed=1)
    assert [k for k in range(1, 9) if epochs.ends_one(k)] == [3, 5, 8]
    assert all(Epochs(ROWS[:3], 4, seed=1).ends_one(k) for k in range(1, 9))


def test_a_batch_depends_on_seed_and_step_alone():
    one, other = Epochs(ROWS, 4, seed=1), Epochs(ROWS, 4, seed=1)
    other.batch(7)
    assert all((one.batch(k) == other.batch(k)).all() for k in (5, 0, 5))
    assert any((one.batch(k) != Epochs(ROWS, 4, seed=2).batch(k)).any() for k in range(3))
    assert one.jitter(3).random() == other.jitter(3).random() != one.jitter(4).random()


def test_annotated_images_fill_a_batch_at_their_rate():
    annotated = ROWS[:2]
    epochs = Epochs(ROWS, 4, 0, annotated, 0.1)
    full = [set(epochs.batch(k)) <= set(annotated) for k in range(2000)]
    assert 0.07 < np.mean(full) < 0.13
    assert not any(set(Epochs(ROWS, 4, 0, annotated[:0], 0.9).batch(k)) <= set(annotated) for k in range(50))
