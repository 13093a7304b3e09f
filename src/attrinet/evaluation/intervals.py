"""From tables of scores to means with intervals over patients, and to JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from attrinet.evaluation.scope import Scope
from attrinet.metrics.intervals import Interval, weighted_mean


def by_finding(
    scope: Scope, table: pd.DataFrame, columns: Sequence[str],
    more: Callable[[np.ndarray], np.ndarray] = lambda values: values[..., :0], beside: Sequence[str] = (),
) -> dict[str, dict[str, Interval]]:
    """finding → column → mean over its rows, and "mean" → the mean over findings, with intervals over patients.

    table: columns id, finding and `columns`; NaN is left out. more: (D, K + 1, columns) means → (D, K + 1, any) what
    else to compute of them draw by draw; those intervals are named "+0", "+1", … beside: columns with the ids of other
    images that a row rests on; they are not drawn anew. No bounds where either are too few, see Bootstrap.lone.
    """
    names = [f for f in scope.store.findings if (table["finding"] == f).any()]
    if not names:
        return {}
    values, at = table[list(columns)].to_numpy(float), scope.places(table["id"])
    rows = [np.flatnonzero(table["finding"] == name) for name in names]
    known = ~np.isnan(values)

    def statistic(weights: np.ndarray) -> np.ndarray:
        each = [[weighted_mean(column[own], weights[:, at[own]]) for column in values.T] for own in rows]
        return np.array(each).transpose(2, 0, 1)

    others = [[scope.places(table[list(beside)].to_numpy()[own].ravel())] if beside else [] for own in rows]
    lone = np.array([[scope.bootstrap.lone(at[own][column[own]], *other) for column in known.T]
                     for own, other in zip(rows, others, strict=True)])
    found = scope.bootstrap.with_mean(statistic, lone, more)
    keys = [*columns, *(f"+{k}" for k in range(len(found[0]) - len(columns)))]
    return {name: dict(zip(keys, each, strict=True)) for name, each in zip([*names, "mean"], found, strict=True)}


def jsonable(value):
    """What JSON can say: NaN becomes null. Bounds that agree do too: where all draws give the same, as of 0 calls among
    6 images, they show none of the uncertainty there is."""
    if isinstance(value, Interval):
        low, high = (math.nan, math.nan) if value.low == value.high else (value.low, value.high)
        return {"value": jsonable(value.value), "low": jsonable(low), "high": jsonable(high)}
    if isinstance(value, Mapping):
        return {key: jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value
