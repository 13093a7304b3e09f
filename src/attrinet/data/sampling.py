"""Which images a step sees. Everything is a pure function of the seed and the step's number, so nothing needs saving:

a resumed run, a run with other workers and a run on other machines draw the same images in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from attrinet.errors import AttrinetError

KINDS = ("critic", "generator", "classifier")  # each kind of step walks the findings with its own counter (§3.7)
ANNOTATED = 2  # beside 0 negative and 1 positive: positives that carry an annotation


def generator_for(seed: int, *key: int) -> np.random.Generator:
    """The random generator that belongs to a seed and a key of non-negative integers."""
    return np.random.default_rng([seed, *key])


def label_pools(labels: np.ndarray, indices: np.ndarray, findings: Sequence[str]) -> list[list[np.ndarray]]:
    """Of every finding the negative and the positive rows among `indices`; labels: (N, C) 0, 1 or NaN.

    Raises AttrinetError naming the findings that have no positive or no negative image.
    """
    known = labels[indices]
    pools = [[indices[known[:, c] == value] for value in (0, 1)] for c in range(len(findings))]
    empty = [
        f"{name} (no {('negative', 'positive')[value]} image)"
        for name, own in zip(findings, pools, strict=True)
        for value in (0, 1)
        if len(own[value]) == 0
    ]
    if empty:
        raise AttrinetError(
            "training needs images with and without every finding; missing: " + ", ".join(empty)
            + ". Leave these findings out with data.findings, or change the split."
        )
    return pools


class Sampler:
    """Positive and negative mini-batches of one finding at a time.

    labels: (N, C) 0, 1 or NaN (unknown: in neither batch). indices: rows of `labels` to draw from.
    batch_size: positives a step, and as many negatives. Every pool is walked in shuffled order, all of it before any
    of it again; where annotated images are oversampled, a step that takes one pool's positives passes over the place of
    the other's.

    Raises AttrinetError naming the findings that have no positive or no negative image.
    """

    def __init__(
        self, labels: np.ndarray, indices: np.ndarray, findings: Sequence[str], batch_size: int, seed: int
    ):
        self.pools = label_pools(labels, indices, findings)
        self.batch_size, self.seed = batch_size, seed
        self._annotated: list[np.ndarray] = [indices[:0]] * len(findings)
        self._annotated_rate = 0.0
        self._permutation = lru_cache(maxsize=8 * len(findings))(self._shuffled)

    def oversample(self, annotated: np.ndarray, rate: float) -> None:
        """Let a generator step take all its positives from annotated images with probability `rate` (§3.5.2).

        annotated: (N, C) bool. Findings without annotated positives keep their ordinary batches.
        """
        self._annotated = [pools[1][annotated[pools[1], c]] for c, pools in enumerate(self.pools)]
        self._annotated_rate = rate

    def _shuffled(self, kind: int, finding: int, label: int, epoch: int) -> np.ndarray:
        pool = self._annotated[finding] if label == ANNOTATED else self.pools[finding][label]
        return generator_for(self.seed, kind, finding, label, epoch).permutation(pool)

    def draw(self, kind: str, counter: int) -> tuple[int, np.ndarray, np.ndarray]:
        """Step number `counter` of its kind → its finding (round-robin), rows of negatives, rows of positives."""
        visit, finding = divmod(counter, len(self.pools))
        positive = 1
        if kind == "generator" and self._annotated_rate and len(self._annotated[finding]):
            chance = generator_for(self.seed, KINDS.index(kind), finding, ANNOTATED, visit).random()
            positive = ANNOTATED if chance < self._annotated_rate else 1
        rows = [self._rows(KINDS.index(kind), finding, label, visit) for label in (0, positive)]
        return finding, rows[0], rows[1]

    def _rows(self, kind: int, finding: int, label: int, visit: int) -> np.ndarray:
        size = len(self._annotated[finding] if label == ANNOTATED else self.pools[finding][label])
        places = np.arange(visit * self.batch_size, (visit + 1) * self.batch_size)
        return np.array([self._permutation(kind, finding, label, int(p // size))[p % size] for p in places])
