"""Judge a classifier and an explainer on one split of a store: the metrics of §4.2 with patient-wise intervals."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from attrinet.data.store import Store
from attrinet.errors import AttrinetError
from attrinet.metrics.auc import weighted_auc
from attrinet.metrics.class_sensitivity import class_sensitivity, draw_grids
from attrinet.metrics.disease_sensitivity import disease_sensitivity
from attrinet.metrics.intervals import Bootstrap, Interval, weighted_mean
from attrinet.metrics.youden import youden_threshold
from attrinet.protocols import Classifier, Explainer

LOCALISATION = ["id", "patient", "finding", "called", "inside", "inside_published", "area"]  # its table's columns


@dataclass(frozen=True)
class Evaluation:
    """metrics: JSON-able summary. predictions: one row an (image, finding) with its label, probability and call.
    localisation: one row an annotated (image, finding) with the share of evidence inside the annotation."""

    metrics: dict
    predictions: pd.DataFrame
    localisation: pd.DataFrame

    def save(self, folder: Path) -> None:
        """metrics.json, predictions.parquet, localisation.parquet."""
        folder.mkdir(parents=True, exist_ok=True)
        self.predictions.to_parquet(folder / "predictions.parquet", index=False)
        self.localisation.to_parquet(folder / "localisation.parquet", index=False)
        (folder / "metrics.json").write_text(json.dumps(jsonable(self.metrics), indent=2) + "\n")


def evaluate(
    model: Classifier, explainer: Explainer | None, store: Store, rows: np.ndarray, thresholds: Mapping[str, float], *,
    draws: int = 1000, grids: int = 200, seed: int = 0, batch_size: int = 16, progress: bool = True,
) -> Evaluation:
    """Evaluate on the images `rows` of the store, none dropped.

    explainer: None leaves out what judges explanations, class_sensitivity and disease_sensitivity.
    thresholds: finding → probability that calls it. draws: bootstrap draws over patients. grids: 2×2 grids a finding
    for class sensitivity. Raises AttrinetError for an empty selection or findings the store lacks.
    """
    store = store.select(model.findings)
    if len(rows) == 0:
        raise AttrinetError(f"{store.path}: no image to evaluate on; choose another --split or --where")
    labels, names = store.labels[rows], store.findings
    probabilities = predict(model, store, rows, batch_size, progress)
    bootstrap = Bootstrap(store.patients[rows], draws, seed)
    called = probabilities >= np.array([thresholds[name] for name in names])

    metrics = {"images": len(rows), "patients": len(set(store.patients[rows])), "draws": draws, "seed": seed}
    metrics["auc"] = auc_intervals(labels, probabilities, names, bootstrap)
    metrics["calls"] = {
        name: {"threshold": float(thresholds[name]), **call_intervals(labels[:, c], called[:, c], bootstrap)}
        for c, name in enumerate(names)
    }
    localisation = pd.DataFrame(columns=LOCALISATION)
    if explainer is not None:
        evidence = Evidence(explainer, store, batch_size)
        metrics["class_sensitivity"] = class_section(evidence, rows, labels, probabilities, thresholds, grids, seed)
        localisation = localise(evidence, rows, called, progress)
        metrics["disease_sensitivity"] = disease_section(localisation, store, rows, bootstrap)
        metrics["explainer"] = {"name": explainer.name, "cost": explainer.cost}
    predictions = pd.DataFrame({
        "id": np.repeat(store.ids[rows], len(names)),
        "patient": np.repeat(store.patients[rows], len(names)),
        "finding": np.tile(np.array(names, dtype=object), len(rows)),
        "label": pd.array(labels.ravel(), dtype="Float32").astype("Int8"),
        "probability": probabilities.ravel(),
        "called": called.ravel(),
    })
    return Evaluation(metrics, predictions, localisation)


def predict(model: Classifier, store: Store, rows: np.ndarray, batch_size: int, progress: bool = False) -> np.ndarray:
    """Probabilities (N, C), float32."""
    parts = []
    starts = range(0, len(rows), batch_size)
    for start in tqdm(starts, desc="predicting", unit="batch", disable=not progress, dynamic_ncols=True):
        logits = model.logits(store.batch(rows[start : start + batch_size], device_of(model)))
        parts.append(logits.detach().sigmoid().float().cpu().numpy())
    return np.concatenate(parts)


def device_of(model) -> torch.device:
    return getattr(model, "device", torch.device("cpu"))


class Evidence:
    """Positive attribution of chosen images, in batches."""

    def __init__(self, explainer: Explainer, store: Store, batch_size: int):
        self.explainer, self.store, self.batch_size = explainer, store, batch_size

    def maps(self, rows: np.ndarray, finding: int):
        """Batches of (rows, (B, H, W) float32 ≥ 0)."""
        for start in range(0, len(rows), self.batch_size):
            chunk = rows[start : start + self.batch_size]
            images = self.store.batch(chunk, device_of(self.explainer))
            yield chunk, self.explainer.attribute(images, finding).detach().clamp(min=0).float().cpu().numpy()

    def totals(self, rows: np.ndarray, finding: int) -> np.ndarray:
        """(N,) summed positive attribution."""
        return np.concatenate([maps.sum((1, 2), dtype=np.float64) for _, maps in self.maps(rows, finding)])


def auc_intervals(
    labels: np.ndarray, probabilities: np.ndarray, names: Sequence[str], bootstrap: Bootstrap
) -> dict[str, Interval]:
    """AUC of every finding and, under "mean", of those that have one."""

    def statistic(w):
        each = np.column_stack([weighted_auc(labels[:, c], probabilities[:, c], w) for c in range(len(names))])
        return np.column_stack([each, mean_of_known(each)])

    return dict(zip([*names, "mean"], bootstrap.intervals(statistic), strict=True))


def call_intervals(labels: np.ndarray, called: np.ndarray, bootstrap: Bootstrap) -> dict[str, Interval]:
    hits, spared = np.where(labels == 1, called, np.nan), np.where(labels == 0, ~called, np.nan)
    values = bootstrap.intervals(lambda w: np.column_stack([weighted_mean(hits, w), weighted_mean(spared, w)]))
    return dict(zip(("sensitivity", "specificity"), values, strict=True))


def mean_of_known(values: np.ndarray) -> np.ndarray:
    """(D, K) → (D,) mean of what is not NaN; NaN where nothing is."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(known.any(1), np.where(known, values, 0).sum(1) / known.sum(1), np.nan)


def class_section(evidence, rows, labels, probabilities, thresholds, count, seed) -> dict:
    """Class sensitivity of every finding, and the mean of the findings that have grids."""
    out = {}
    for c, name in enumerate(evidence.store.findings):
        grids = draw_grids(labels[:, c], probabilities[:, c], thresholds[name], count, seed)
        if not len(grids):
            out[name] = {"mean": math.nan, "grids": 0, "blank": 0}
            continue
        images, place = np.unique(grids, return_inverse=True)
        totals = evidence.totals(rows[images], c)[place.reshape(grids.shape)]
        result = class_sensitivity(totals)
        out[name] = {"mean": result.mean, "grids": len(grids), "blank": result.blank}
    known = [section["mean"] for section in out.values() if not math.isnan(section["mean"])]
    out["mean"] = float(np.mean(known)) if known else math.nan
    return out


def localise(evidence: Evidence, rows: np.ndarray, called: np.ndarray, progress: bool) -> pd.DataFrame:
    """Where the evidence lies, for every image among `rows` that is positive for an annotated finding."""
    store, parts = evidence.store, []
    where = {row: k for k, row in enumerate(rows)}
    for c, name in enumerate(tqdm(store.findings, desc="locating evidence", unit="finding", disable=not progress)):
        annotated = np.array([k for k, r in enumerate(rows) if store.labels[r, c] == 1
                              and (m := store.mask(r, c)) is not None and m.any()], int)
        for chunk, maps in evidence.maps(rows[annotated], c):
            masks = np.stack([store.mask(r, c) for r in chunk])
            ours, theirs = (disease_sensitivity(maps, masks, published) for published in (False, True))
            place = [where[r] for r in chunk]
            parts.append(pd.DataFrame({
                "id": store.ids[chunk], "patient": store.patients[chunk], "finding": name, "called": called[place, c],
                "inside": ours.inside, "inside_published": theirs.inside, "area": ours.area,
            }))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=LOCALISATION)


def disease_section(table: pd.DataFrame, store: Store, rows: np.ndarray, bootstrap: Bootstrap) -> dict:
    """Averages over the images of a finding, then over findings (§4.2.2), with intervals over patients.

    true_positives: only images the model calls; enrichment there is the mean share of evidence inside the annotation
    over the mean share of the image that is annotated.
    """
    place = {id: k for k, id in enumerate(store.ids[rows])}
    at = np.array([place[id] for id in table["id"]], int)
    out: dict = {"annotated": len(table), "blank": int(table["inside"].isna().sum())}
    keys = ("inside", "inside_published", "area", "enrichment")
    for subset, part in (("all", table), ("true_positives", table[table["called"].astype(bool)])):
        names = [f for f in store.findings if (part["finding"] == f).any()]
        if not names:
            out[subset] = {}
            continue
        values = bootstrap.intervals(partial(location_statistic, part, names, at[part.index.to_numpy()]))
        out[subset] = {
            f: {"images": len(part) if f == "mean" else int((part["finding"] == f).sum()),
                **dict(zip(keys, values[4 * k : 4 * k + 4], strict=True))}
            for k, f in enumerate([*names, "mean"])
        }
    return out


def location_statistic(table: pd.DataFrame, names: Sequence[str], at: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """inside, inside_published, area and enrichment of every finding, then of their mean: (D, 4 · (findings + 1))."""
    finding, columns = table["finding"].to_numpy(), table[["inside", "inside_published", "area"]].to_numpy(float)
    each = []  # (D,) for every finding and column
    for name in names:
        own = finding == name
        each.append([weighted_mean(v[own], weights[:, at[own]]) for v in columns.T])
    values = np.array(each)  # (findings, 3, D)
    means = np.stack([mean_of_known(v.T) for v in values.swapaxes(0, 1)])
    rows = np.concatenate([values, means[None]])
    return np.concatenate([rows, rows[:, :1] / rows[:, 2:]], axis=1).reshape(-1, len(weights)).T


def choose_thresholds(model: Classifier, store: Store, batch_size: int = 16) -> dict[str, float]:
    """Youden thresholds of every finding on the validation images (§4.2.1)."""
    store = store.select(model.findings)
    rows = store.split("valid")
    if len(rows) == 0:
        raise AttrinetError(f"{store.path}: no 'valid' images to choose thresholds on")
    probabilities = predict(model, store, rows, batch_size)
    return {name: youden_threshold(store.labels[rows, c], probabilities[:, c]).threshold
            for c, name in enumerate(store.findings)}


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
