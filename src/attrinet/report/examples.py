"""Which images a report shows: chosen by rule, so that nobody can pick the pretty ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Example:
    """id: image. why: said under the picture. finding: the one it was chosen for."""

    id: str
    finding: str
    why: str


def choose(predictions: pd.DataFrame, findings: tuple[str, ...]) -> tuple[list[Example], list[Example]]:
    """Typical and wrong examples from an evaluation's predictions (one row an image and finding).

    Typical: for every finding the true positive of median probability. Wrong: for every finding the false negative
    of lowest probability, else the false positive of highest.
    """
    typical, wrong = [], []
    for name in findings:
        rows = predictions[predictions["finding"] == name].sort_values(["probability", "id"])
        present, called = rows["label"].eq(1).fillna(False).to_numpy(bool), rows["called"].to_numpy(bool)
        absent = rows["label"].eq(0).fillna(False).to_numpy(bool)
        hits, missed, alarms = rows[present & called], rows[present & ~called], rows[absent & called]
        if len(hits):
            typical.append(Example(hits["id"].iloc[len(hits) // 2], name, f"{name}: a typical true positive "
                                   f"(median probability of {len(hits)})"))
        if len(missed):
            wrong.append(Example(missed["id"].iloc[0], name, f"{name}: the most clearly missed of {len(missed)}"))
        elif len(alarms):
            wrong.append(Example(alarms["id"].iloc[-1], name, f"{name}: the most confident of {len(alarms)} alarms"))
    return typical, wrong


def located(localisation: pd.DataFrame, findings: tuple[str, ...], each: int = 2) -> pd.DataFrame:
    """Rows of localisation.parquet to draw: of every finding's true positives those at even ranks of `inside`."""
    parts = []
    for name in findings:
        rows = localisation[(localisation["finding"] == name) & localisation["called"].astype(bool)].dropna()
        rows = rows.sort_values(["inside", "id"])
        ranks = np.unique(((np.arange(each) + 0.5) / each * len(rows)).astype(int)) if len(rows) else []
        parts.append(rows.iloc[ranks])
    return pd.concat(parts, ignore_index=True) if parts else localisation


@dataclass(frozen=True)
class Failures:
    """missed, alarms: (id, probability), the clearest first, cut to what is shown; of so many in all."""

    finding: str
    missed: list[tuple[str, float]]
    alarms: list[tuple[str, float]]
    missed_of: int
    alarms_of: int
    present: int
    absent: int


def failures(predictions: pd.DataFrame, findings: tuple[str, ...], each: int = 5) -> list[Failures]:
    """Of every finding the false negatives of lowest and the false positives of highest probability."""
    out = []
    for name in findings:
        rows = predictions[predictions["finding"] == name].sort_values(["probability", "id"])
        present, absent = (rows["label"].eq(value).fillna(False).to_numpy(bool) for value in (1, 0))
        called = rows["called"].to_numpy(bool)
        missed, alarms = rows[present & ~called], rows[absent & called][::-1]
        shown = [list(zip(part["id"][:each], part["probability"][:each], strict=True)) for part in (missed, alarms)]
        out.append(Failures(name, *shown, len(missed), len(alarms), int(present.sum()), int(absent.sum())))
    return out


def best_and_worst(predictions: pd.DataFrame, each: int = 2) -> tuple[list[Example], list[Example]]:
    """Whole images: among those with a finding, lowest and highest mean cross-entropy over their known findings.

    The finding of an Example is, for a best one, the present one of highest probability, for a worst one the finding
    of highest cross-entropy.
    """
    known = predictions.dropna(subset=["label"]).copy()
    label, p = known["label"].to_numpy(float), known["probability"].to_numpy(float).clip(1e-7, 1 - 1e-7)
    known["loss"], known["present"] = -np.log(np.where(label == 1, p, 1 - p)), label == 1
    ill = known[known.groupby("id")["present"].transform("any")]
    order = ill.groupby("id")["loss"].mean().reset_index().sort_values(["loss", "id"])

    def example(id: str, loss: float, by: str) -> Example:
        rows = ill[ill["id"] == id]
        rows = rows[rows["present"]] if by == "probability" else rows
        return Example(id, rows.loc[rows[by].idxmax(), "finding"], f"mean cross-entropy {loss:.3f}")

    each = min(each, len(order) // 2)
    best = [example(r.id, r.loss, "probability") for r in order[:each].itertuples()]
    worst = [example(r.id, r.loss, "loss") for r in order[::-1][:each].itertuples()]
    return best, worst


def located_extremes(localisation: pd.DataFrame, findings: tuple[str, ...]) -> pd.DataFrame:
    """Rows of localisation.parquet: of every finding's true positives that of highest `inside`, then of lowest."""
    called = localisation[localisation["called"].astype(bool)].dropna().sort_values(["inside", "id"])
    parts = [called[called["finding"] == name] for name in findings]
    parts = [rows for rows in parts if len(rows) > 1]
    ends = [rows.iloc[[-1]] for rows in parts] + [rows.iloc[[0]] for rows in parts]
    return pd.concat(ends, ignore_index=True) if ends else localisation.iloc[:0]
