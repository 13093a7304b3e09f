"""Two methods on the same images: is one better, or did it only have luck with the patients?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from attrinet.metrics.auc import weighted_auc
from attrinet.metrics.intervals import Bootstrap, Interval, weighted_mean


def auc_difference(
    labels: np.ndarray, a: np.ndarray, b: np.ndarray, findings: Sequence[str], patients: np.ndarray, *,
    draws: int = 1000, seed: int = 0,
) -> dict[str, Interval]:
    """AUC of b minus AUC of a, of every finding and of their "mean"; each draw of patients is the same for both.

    labels: (N, C) 1, 0 or NaN. a, b: (N, C) scores of the same images. patients: (N,). Where the interval leaves out 0
    the methods differ, at a level that is near 5 % with many patients and above it with few. No bounds where the
    positives, or the negatives, are of fewer than intervals.FEWEST_PATIENTS.
    """

    def statistic(w: np.ndarray) -> np.ndarray:
        each = [weighted_auc(labels[:, c], b[:, c], w) - weighted_auc(labels[:, c], a[:, c], w)
                for c in range(len(findings))]
        return np.column_stack(each)[:, :, None]

    bootstrap = Bootstrap(patients, draws, seed)
    lone = np.array([[bootstrap.lone(column == 1, column == 0)] for column in np.asarray(labels).T])
    return _named(findings, bootstrap.with_mean(statistic, lone))


def score_difference(
    a: np.ndarray, b: np.ndarray, finding: np.ndarray, patients: np.ndarray, *, draws: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """Mean of b − a of every finding and of their "mean", for scores an (image, finding) has (inside, hit, iou, …).

    a, b: (N,) of the same rows; a row that either has no score for (NaN) is left out of both. finding: (N,) names.
    patients: (N,). No bounds where the scores of a finding are of fewer than intervals.FEWEST_PATIENTS.
    """
    names = list(dict.fromkeys(finding))
    difference = np.asarray(b, float) - np.asarray(a, float)

    def statistic(w: np.ndarray) -> np.ndarray:
        each = [weighted_mean(difference[finding == name], w[:, finding == name]) for name in names]
        return np.column_stack(each)[:, :, None]

    bootstrap = Bootstrap(patients, draws, seed)
    known = ~np.isnan(difference)
    lone = np.array([[bootstrap.lone((finding == name) & known)] for name in names])
    return _named(names, bootstrap.with_mean(statistic, lone))


def _named(findings: Sequence[str], found: list[list[Interval]]) -> dict[str, Interval]:
    return {name: interval for name, (interval,) in zip([*findings, "mean"], found, strict=True)}


@dataclass(frozen=True)
class PairedT:
    """difference: mean of b − a. t, p: statistic and two-sided p of the paired t-test, NaN for fewer than two pairs.
    pairs: scores both methods have."""

    difference: float
    t: float
    p: float
    pairs: int


def paired_t_test(a: np.ndarray, b: np.ndarray) -> PairedT:
    """Student's paired t-test of scores (N,) of the same images; pairs with a NaN are left out.

    It takes the pairs for independent, which two images of a patient are not: average them first, or trust the
    bootstrap. Differences that are all the same have t = ±inf and p = 0, or NaN where they are 0.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    known = ~np.isnan(a - b)
    difference, count = (b - a)[known], int(known.sum())
    if count < 2:
        return PairedT(float(difference.mean()) if count else float("nan"), float("nan"), float("nan"), count)
    with np.errstate(divide="ignore", invalid="ignore"):
        result = stats.ttest_rel(b[known], a[known])
    return PairedT(float(difference.mean()), float(result.statistic), float(result.pvalue), count)
