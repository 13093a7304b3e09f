"""Which images a step of a baseline sees: a pure function of seed and step number, so nothing needs saving."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from attrinet.data.sampling import generator_for

ORDER, CHANCE, JITTER = range(3)  # keep these uses of a seed apart


class Epochs:
    """Batches of all `rows` in shuffled order, all of them before any again; no batch is short.

    annotated: rows of which, with probability `rate`, a batch is made instead (§3.5.2): the one in its place is passed
    over until the next epoch.
    """

    def __init__(
        self, rows: np.ndarray, batch_size: int, seed: int, annotated: np.ndarray | None = None, rate: float = 0.0
    ):
        self._rows, self._batch_size, self.seed = rows, batch_size, seed
        self._annotated, self._rate = rows[:0] if annotated is None else annotated, rate
        self._order = lru_cache(maxsize=2)(lambda epoch: generator_for(seed, ORDER, epoch).permutation(rows))

    def steps(self, epochs: int) -> int:
        """Steps in which every row has had its turn at least `epochs` times."""
        return -(-epochs * len(self._rows) // self._batch_size)

    def ends_one(self, steps: int) -> bool:
        """Whether the last of so many steps finished an epoch."""
        before, after = ((n * self._batch_size) // len(self._rows) for n in (steps - 1, steps))
        return after > before

    def batch(self, step: int) -> np.ndarray:
        """Rows of step number `step`, counted from 0."""
        random = generator_for(self.seed, CHANCE, step)
        if len(self._annotated) and random.random() < self._rate:
            size = self._batch_size
            return random.choice(self._annotated, size, replace=len(self._annotated) < size)
        places = np.arange(step * self._batch_size, (step + 1) * self._batch_size)
        return np.array([self._order(int(p // len(self._rows)))[p % len(self._rows)] for p in places])

    def jitter(self, step: int) -> np.random.Generator:
        """The random generator of a step's contrast and brightness."""
        return generator_for(self.seed, JITTER, step)
