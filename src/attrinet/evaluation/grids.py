"""Class sensitivity: grids of one image with the finding and three without (§4.2.2)."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from tqdm import tqdm

from attrinet.evaluation.evidence import Evidence
from attrinet.evaluation.intervals import by_finding
from attrinet.evaluation.scope import Scope
from attrinet.metrics.class_sensitivity import NEGATIVES, class_sensitivity, draw_grids

NEGATIVE_COLUMNS = [f"negative_{k + 1}" for k in range(NEGATIVES)]
GRIDS = ["id", "patient", "finding", *NEGATIVE_COLUMNS, "score", "score_published"]  # its table's columns


def grid_table(scope: Scope, evidence: Evidence, count: int, progress: bool) -> pd.DataFrame:
    """grids.parquet: one row a grid. id, patient: of its positive. negative_1 …: ids. score: share of the positive
    attribution that is in the positive; NaN for a blank grid, where score_published is 0."""
    store, parts = scope.store, []
    drawn = [grids_of(scope, c, count) for c in range(len(store.findings))]
    with tqdm(total=sum(len(np.unique(grids)) for grids in drawn), desc="grids", unit="map",
              disable=not progress) as bar:
        for c, grids in enumerate(drawn):
            if len(grids):
                parts.append(_scored(scope, evidence, c, grids, bar))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=GRIDS)


def grids_of(scope: Scope, finding: int, count: int) -> np.ndarray:
    """(G, 4) places in scope.rows; with a limit some of them all: the most confident alone would be the easiest."""
    grids = draw_grids(scope.labels[:, finding], scope.probabilities[:, finding], scope.thresholds[finding], count,
                       scope.seed)
    if scope.limit is None or not len(grids):
        return grids
    order = np.random.default_rng([scope.seed, finding]).permutation(len(grids))
    return grids[np.sort(order[: max(scope.limit // (1 + NEGATIVES), 1)])]


def _scored(scope: Scope, evidence: Evidence, finding: int, grids: np.ndarray, bar: tqdm) -> pd.DataFrame:
    images, place = np.unique(grids, return_inverse=True)
    totals = np.concatenate([np.clip(maps, 0, None).sum((1, 2), dtype=np.float64)
                             for _, maps in evidence.maps(scope.rows[images], finding, bar)])
    scores = class_sensitivity(totals[place.reshape(grids.shape)]).scores
    store, rows = scope.store, scope.rows[grids]
    return pd.DataFrame({
        "id": store.ids[rows[:, 0]], "patient": store.patients[rows[:, 0]], "finding": store.findings[finding],
        **{column: store.ids[rows[:, 1 + k]] for k, column in enumerate(NEGATIVE_COLUMNS)},
        "score": scores, "score_published": np.nan_to_num(scores),
    })


def class_sections(scope: Scope, table: pd.DataFrame) -> dict:
    """class_sensitivity (mean, grids and blank grids of every finding, and the mean of the findings that have grids),
    and its intervals over the patients of the positives, the negatives held as they are, without blank grids and, as
    published, with 0 for them."""
    out: dict = {}
    for name in scope.store.findings:
        scores = table.loc[table["finding"] == name, "score"].astype(float)
        out[name] = {"mean": float(scores.mean()), "grids": len(scores), "blank": int(scores.isna().sum())}
    known = [section["mean"] for section in out.values() if not math.isnan(section["mean"])]
    out["mean"] = float(np.mean(known)) if known else math.nan
    found = by_finding(scope, table, ["score", "score_published"], beside=NEGATIVE_COLUMNS)
    return {
        "class_sensitivity": out,
        "class_sensitivity_interval": {name: values["score"] for name, values in found.items()},
        "class_sensitivity_published": {name: values["score_published"] for name, values in found.items()},
    }
