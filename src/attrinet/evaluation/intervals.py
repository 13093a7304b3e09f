"""From tables of scores to means with intervals over patients, and to JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from attrinet.evaluation.scope import Scope
from attrinet.metrics.intervals import Interval, mean_of_known, weighted_mean


def by_finding(
    scope: Scope, table: pd.DataFrame, columns: Sequence[str],
    more: Callable[[np.ndarray], np.ndarray] = lambda values: values[..., :0],
) -> dict[str, dict[str, Interval]]:
    """finding → column → mean over its rows, and "mean" → the mean over findings, with intervals over patients.

    table: columns id, finding and `columns`; NaN is left out. more: (K + 1, columns, D) means → (K + 1, any, D) what
    else to compute of them draw by draw; those intervals are named "+0", "+1", … What rests on a single patient has no
    interval: other patients would have given who knows what, and every draw with him gives the same.
    """
    names = [f for f in scope.store.findings if (table["finding"] == f).any()]
    if not names:
        return {}
    finding, values, at = table["finding"].to_numpy(), table[list(columns)].to_numpy(float), scope.places(table["id"])

    def statistic(weights: np.ndarray) -> np.ndarray:
        means = np.array([[weighted_mean(column[own], weights[:, at[own]]) for column in values.T]
                          for own in (finding == name for name in names)])  # (K, columns, D)
        mean = np.stack([mean_of_known(column.T) for column in means.swapaxes(0, 1)])
        means = np.concatenate([means, mean[None]])
        return np.concatenate([means, more(means).reshape(len(means), -1, len(weights))], 1).reshape(-1, len(weights)).T

    intervals = scope.bootstrap.intervals(statistic)
    width = len(intervals) // (len(names) + 1)
    keys = [*columns, *(f"+{k}" for k in range(width - len(columns)))]
    patients = scope.bootstrap.patients[at]
    out = {}
    for k, name in enumerate([*names, "mean"]):
        own = finding == name if name != "mean" else np.ones(len(finding), bool)
        known = own[:, None] & ~np.isnan(values)
        lone = [len(set(patients[column])) < 2 for column in known.T]
        lone += [any(lone)] * (width - len(columns))
        found = intervals[k * width : (k + 1) * width]
        out[name] = {key: Interval(value.value, math.nan, math.nan) if alone else value
                     for key, value, alone in zip(keys, found, lone, strict=True)}
    return out


def jsonable(value):
    """Intervals to lists, NaN to null: what JSON can say."""
    if isinstance(value, Interval):
        return {"value": jsonable(value.value), "low": jsonable(value.low), "high": jsonable(value.high)}
    if isinstance(value, Mapping):
        return {key: jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value
