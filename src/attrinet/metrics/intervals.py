"""Bootstrap intervals over patients: what another sample of patients would have given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

BLOCK = 1 << 22  # weights looked at at once; bounds the memory


@dataclass(frozen=True)
class Interval:
    """value: on the data as it is. low, high: percentiles of the bootstrap draws; NaN where too few were defined."""

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


def mean_of_known(values: np.ndarray) -> np.ndarray:
    """(D, K) → (D,) mean of what is not NaN; NaN where nothing is."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(known.any(1), np.where(known, values, 0).sum(1) / known.sum(1), np.nan)
