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
