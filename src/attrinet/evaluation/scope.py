"""What is judged, and by which draws: shared by all sections of an evaluation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from attrinet.data.store import Store
from attrinet.metrics.calls import called
from attrinet.metrics.intervals import Bootstrap


@dataclass(frozen=True)
class Scope:
    """The images `rows` of a store, their probabilities (N, C), and the thresholds (C,) that call them.

    bootstrap: over the patients of `rows`. seed: of everything drawn. limit: images a finding for what judges
    explanations; None: all.
    """

    store: Store
    rows: np.ndarray
    probabilities: np.ndarray
    thresholds: np.ndarray
    bootstrap: Bootstrap
    seed: int
    limit: int | None = None

    @cached_property
    def labels(self) -> np.ndarray:
        """(N, C) 1, 0 or NaN."""
        return self.store.labels[self.rows]

    @cached_property
    def called(self) -> np.ndarray:
        """(N, C) bool"""
        return called(self.probabilities, self.thresholds)

    @cached_property
    def _place(self) -> dict[str, int]:
        return {id: k for k, id in enumerate(self.store.ids[self.rows])}

    def places(self, ids: Iterable[str]) -> np.ndarray:
        """Where these images are in `rows`."""
        return np.array([self._place[id] for id in ids], int)

    def sample(self, rows: np.ndarray, count: int | None) -> np.ndarray:
        """At most `count` of these rows of the store. One order of all images decides for every section and finding,
        so that what was explained for one serves the next."""
        if count is None or len(rows) <= count:
            return rows
        order = np.random.default_rng(self.seed).permutation(len(self.store))
        return np.sort(rows[np.argsort(order[rows])][:count])

    def annotated(self, rows: np.ndarray, finding: int) -> np.ndarray:
        """Those of `rows` that have the finding and a mask of it."""
        store = self.store
        return np.array([r for r in rows[store.labels[rows, finding] == 1]
                         if (mask := store.mask(r, finding)) is not None and mask.any()], int)
