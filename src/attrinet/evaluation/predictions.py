"""What a classifier says: probabilities, calls, and how good they are."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from attrinet.data.store import Store
from attrinet.errors import AttrinetError
from attrinet.evaluation.evidence import Evidence, device_of
from attrinet.evaluation.scope import Scope
from attrinet.metrics.auc import weighted_auc
from attrinet.metrics.average_precision import weighted_average_precision
from attrinet.metrics.calibration import weighted_calibration_error
from attrinet.metrics.intervals import Interval, weighted_mean
from attrinet.metrics.youden import youden_threshold
from attrinet.modes import evaluated
from attrinet.protocols import Classifier


def predict(
    model: Classifier, store: Store, rows: np.ndarray, batch_size: int, progress: bool = False,
    evidence: Evidence | None = None,
) -> np.ndarray:
    """Probabilities (N, C), float64: in float32 all beyond a logit of 17 would be 1, and alike. evidence: of the model
    itself, keeps the maps that come with its predictions.

    Raises AttrinetError where one is NaN.
    """
    count, parts = len(store.findings), []
    together = evidence is not None and evidence.comes_with_predictions(model, len(rows))
    starts = range(0, len(rows), batch_size)
    for start in tqdm(starts, desc="predicting", unit="batch", disable=not progress, dynamic_ncols=True):
        chunk = rows[start : start + batch_size]
        with torch.no_grad():
            logits = evidence.predicted(chunk) if together else model.logits(store.batch(chunk, device_of(model)))
        if tuple(logits.shape) != (len(chunk), count):
            raise AttrinetError(f"{type(model).__name__}.logits returned {tuple(logits.shape)} for {len(chunk)} "
                                f"images; want ({len(chunk)}, {count}), one a finding")
        parts.append(logits.detach().cpu().double().sigmoid().numpy())
    probabilities = np.concatenate(parts)
    broken = np.flatnonzero(np.isnan(probabilities).any(1))
    if len(broken):
        raise AttrinetError(f"{len(broken)} of {len(rows)} images have a prediction that is not a number, the first is "
                            f"{store.ids[rows[broken[0]]]!r}: the model's weights are damaged")
    return probabilities


def choose_thresholds(model: Classifier, store: Store, batch_size: int = 16) -> dict[str, float]:
    """Youden thresholds of every finding on the validation images (§4.2.1); of one that is present or absent on all of
    them the model's own, with a warning."""
    store = fitting(store, model)
    rows = store.split("valid")
    if len(rows) == 0:
        raise AttrinetError(f"{store.path}: no 'valid' images to choose thresholds on")
    with evaluated(model):
        probabilities = predict(model, store, rows, batch_size)
    found = [youden_threshold(store.labels[rows, c], probabilities[:, c]) for c in range(len(store.findings))]
    unknown = [name for name, one in zip(store.findings, found, strict=True) if np.isnan(one.sensitivity)]
    if unknown:
        warnings.warn(f"{store.path}: 'valid' does not show {', '.join(unknown)} both present and absent; the model's "
                      "threshold stays", stacklevel=2)
    return {name: float(own) if name in unknown else one.threshold
            for name, one, own in zip(store.findings, found, getattr(model, "thresholds", [0.5] * len(found)),
                                      strict=True)}


def fitting(store: Store, model: Classifier) -> Store:
    """The store with the findings of the model. Raises AttrinetError where its images are not of the model's size."""
    size = getattr(model, "image_size", store.size)
    if size != store.size:
        raise AttrinetError(f"{store.path}: holds {store.size}-pixel images, the model is for {size}; prepare it with "
                            f"--size {size}")
    return store.select(model.findings)


def prediction_sections(scope: Scope) -> dict:
    """auc, average_precision, calibration and calls."""
    calls = call_intervals(scope)
    return {
        "auc": per_finding(scope, weighted_auc, both_kinds),
        "average_precision": per_finding(scope, weighted_average_precision, both_kinds),
        "calibration": per_finding(scope, weighted_calibration_error, lambda labels: [~np.isnan(labels)]),
        "calls": {name: {"threshold": float(scope.thresholds[c]), **calls[name]}
                  for c, name in enumerate(scope.store.findings)},
    }


def per_finding(
    scope: Scope, metric: Callable, groups: Callable[[np.ndarray], list[np.ndarray]]
) -> dict[str, Interval]:
    """metric(labels (N,), probabilities (N,), weights (D, N)) → (D,) of every finding and, under "mean", of those that
    have it. groups: labels → the images, (N,) bool each, of which it needs some of each."""
    labels, probabilities, names = scope.labels, scope.probabilities, scope.store.findings

    def statistic(w):
        each = [metric(labels[:, c], probabilities[:, c], w) for c in range(len(names))]
        return np.column_stack(each)[:, :, None]

    lone = np.array([[scope.bootstrap.lone(*groups(labels[:, c]))] for c in range(len(names))])
    found = scope.bootstrap.with_mean(statistic, lone)
    return {name: interval for name, (interval,) in zip([*names, "mean"], found, strict=True)}


def both_kinds(labels: np.ndarray) -> list[np.ndarray]:
    return [labels == 1, labels == 0]


def call_intervals(scope: Scope) -> dict[str, dict[str, Interval]]:
    """Sensitivity and specificity at the threshold of every finding."""
    labels, called = scope.labels.T, scope.called.T
    right = np.stack([np.where(labels == 1, called, np.nan), np.where(labels == 0, ~called, np.nan)], 1)  # (C, 2, N)

    def statistic(w):
        return np.array([[weighted_mean(each, w) for each in pair] for pair in right]).transpose(2, 0, 1)

    lone = np.array([[scope.bootstrap.lone(group) for group in both_kinds(own)] for own in labels])
    found = scope.bootstrap.with_mean(statistic, lone)[:-1]
    return {name: dict(zip(("sensitivity", "specificity"), pair, strict=True))
            for name, pair in zip(scope.store.findings, found, strict=True)}


def prediction_table(scope: Scope) -> pd.DataFrame:
    """predictions.parquet: one row an (image, finding)."""
    store, rows, names = scope.store, scope.rows, scope.store.findings
    return pd.DataFrame({
        "id": np.repeat(store.ids[rows], len(names)),
        "patient": np.repeat(store.patients[rows], len(names)),
        "finding": np.tile(np.array(names, dtype=object), len(rows)),
        "label": pd.array(scope.labels.ravel(), dtype="Float32").astype("Int8"),
        "probability": scope.probabilities.ravel(),
        "called": scope.called.ravel(),
    })
