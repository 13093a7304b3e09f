"""Bootstrap intervals over patients: what another sample of patients would have given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

BLOCK = 1 << 22  # weights looked at at once; bounds the memory
FEWEST_PATIENTS = 8
"""With fewer the percentiles lie far too close: of normal numbers, the interval of 2 patients misses the truth every
second time, of 4 every fifth, of 8 still every ninth, of 24 every thirteenth."""


@dataclass(frozen=True)
class Interval:
    """value: on the data as it is. low, high: percentiles of the bootstrap draws; NaN where too few were defined, and
    where all rests on fewer than FEWEST_PATIENTS."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Bootstrap:
    """Patients drawn with replacement (Efron, Ann. Stat. 1979), each with all of his images: they go together.

    patients: (N,) of every image. Two statistics under one Bootstrap are paired: give their difference as one
    statistic to compare two methods.
    """

    patients: np.ndarray
    draws: int = 1000
    seed: int = 0
    level: float = 0.95

    def intervals(self, statistic: Callable[[np.ndarray], np.ndarray]) -> list[Interval]:
        """Percentile intervals of every number of `statistic`: weights (D, N) → (D, K), NaN where undefined.

        A weight says how often an image counts in a draw.
        """
        unique, of = np.unique(np.asarray(self.patients, dtype=str), return_inverse=True)
        random = np.random.default_rng(self.seed)
        (value,) = statistic(np.ones((1, len(of))))
        parts, share = [], np.full(len(unique), 1 / len(unique))
        step = max(1, BLOCK // len(of))
        for start in range(0, self.draws, step):
            counts = random.multinomial(len(unique), share, size=min(step, self.draws - start))
            parts.append(statistic(counts[:, of].astype(np.float64)))
        drawn = np.concatenate(parts)  # (draws, K)
        return [self._interval(v, column) for v, column in zip(value, drawn.T, strict=True)]

    def with_mean(
        self, statistic: Callable[[np.ndarray], np.ndarray], lone: np.ndarray,
        more: Callable[[np.ndarray], np.ndarray] = lambda values: values[..., :0],
    ) -> list[list[Interval]]:
        """Intervals of M numbers of each of K findings, and last of their means over findings.

        statistic: weights (D, N) → (D, K, M), NaN where undefined. A mean is that of the findings which have the number
        on the data as it is; in a draw without the patients of one of them it is undefined, not that of the others.
        more: (D, K + 1, M) → (D, K + 1, any), what else to compute of them draw by draw.
        lone: (K, M) bool, what has no bounds because it rests on too few patients (see lone): others would have given
        who knows what, and every draw of these gives much the same. Nor has a mean over such a finding.
        """
        once = np.ones((1, len(self.patients)))
        has = ~np.isnan(statistic(once)[0])  # (K, M)

        def all_of(weights: np.ndarray) -> np.ndarray:
            each = statistic(weights)
            values = np.concatenate([each, mean_over(each, has)[:, None]], 1)
            return np.concatenate([values, more(values)], 2)

        shape = all_of(once).shape[1:]
        found = self.intervals(lambda weights: all_of(weights).reshape(len(weights), -1))
        bare = np.concatenate([lone, np.any(lone & has, axis=0, keepdims=True)])
        others = np.any(bare, axis=1, keepdims=True).repeat(shape[1] - bare.shape[1], axis=1)
        bare = np.concatenate([bare, others], 1)
        found = [Interval(one.value, float("nan"), float("nan")) if alone else one
                 for one, alone in zip(found, bare.ravel(), strict=True)]
        return [found[k : k + shape[1]] for k in range(0, len(found), shape[1])]

    def lone(self, *groups: np.ndarray) -> bool:
        """Whether any of these groups of images, (N,) bool or places, is of fewer than FEWEST_PATIENTS."""
        return any(len(set(np.asarray(self.patients)[group])) < FEWEST_PATIENTS for group in groups)

    def _interval(self, value: float, drawn: np.ndarray) -> Interval:
        known = drawn[~np.isnan(drawn)]
        if len(known) < len(drawn) / 2:
            return Interval(float(value), float("nan"), float("nan"))
        low, high = np.percentile(known, [50 * (1 - self.level), 50 * (1 + self.level)])
        return Interval(float(value), float(low), float(high))


def weighted_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Means of the values (N,) that are not NaN, under weights (D, N) → (D,); NaN where none counts."""
    known = ~np.isnan(values)
    total = weights[:, known].sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, weights[:, known] @ values[known] / total, np.nan)


def mean_over(values: np.ndarray, has: np.ndarray) -> np.ndarray:
    """(D, K, M) → (D, M) mean over those of K that `has` (K, M) names; NaN where one of them is, or none is named."""
    with np.errstate(invalid="ignore"):
        return np.where(has, values, 0).sum(1) / has.sum(0)
