"""attrinet global: what is compared, and what is said of it."""

import numpy as np

from attrinet.cli.global_ import COMPARED, compared


class Numbered:
    """Two images of each of `patients` patients, all with the finding; an image is its own row number."""

    def __init__(self, patients):
        self.patients = np.repeat([f"p{k:05d}" for k in range(patients)], 2)
        self.labels = np.ones((2 * patients, 1))
        self.images = np.arange(2 * patients)

    def split(self, name):
        return np.arange(len(self.images))


def test_the_patients_compared_are_drawn_from_all_and_come_once_each():
    store = Numbered(4 * COMPARED)
    rows = compared(store, 0, 1)
    assert len(rows) == COMPARED == len(set(store.patients[rows]))
    assert (np.diff(rows) > 0).all() and abs(rows.mean() - 4 * COMPARED) < 0.1 * 4 * COMPARED
    assert set(rows % 2) == {0, 1}  # nor always a patient's first image
    assert (compared(store, 0, 1) == rows).all()


def test_with_fewer_patients_all_are_compared():
    assert len(compared(Numbered(7), 0, 1)) == 7
