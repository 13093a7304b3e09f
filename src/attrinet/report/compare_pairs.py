"""comparisons.csv: every two methods judged on the same images, patient by patient."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from attrinet.metrics.paired import auc_difference, paired_t_test, score_difference
from attrinet.report.compare_runs import Judged, Method, models
from attrinet.report.compare_tables import AUC, CLASS, DISEASE

HEAD = ("test_set", "a", "b", "seed_a", "seed_b", "measure", "finding", "difference_b_minus_a", "low", "high", "pairs",
        "t", "p")
KEYS = ["id", "patient", "finding"]
GUIDE = (
    "comparisons.csv: b minus a for every two methods judged on the same images. low, high: 95 % bootstrap interval; "
    "patients are drawn once for both methods. AUC: of the images' probabilities. Disease sensitivity: the images both "
    "methods have a score for. Class sensitivity: the grids with the same positive image. t, p: two-sided paired "
    "t-test over patients, a patient's scores averaged first; of single findings only. pairs: patients who have a "
    "score; for AUC, images whose label is known. Methods with several seeds are compared seed by seed, equal seeds "
    "with each other. The intervals and p values are not corrected for how many comparisons there are."
)


def write_comparisons(path: Path, parts: Sequence[tuple[str, Sequence[Method]]], progress: bool) -> int:
    """parts: (test set, its methods). Returns the number of lines."""
    count = 0
    with open(path, "w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(HEAD)
        for test, methods in parts:
            for line in comparisons(methods, progress):
                out.writerow((test, *(f"{x:.6g}" if isinstance(x, float) else x for x in line)))
                count += 1
    return count


def comparisons(methods: Sequence[Method], progress: bool = False) -> Iterator[tuple]:
    """Lines of comparisons.csv without the test set."""
    predict = models(methods)
    pairs = [(AUC, a, b) for a, b in combinations(predict, 2)]
    explain = [m for m in methods if m.first.explained]
    pairs += [(measure, a, b) for a, b in combinations(explain, 2) for measure in (CLASS, DISEASE)]
    for measure, a, b in tqdm(pairs, desc="comparing", unit="pair", disable=not progress, dynamic_ncols=True):
        for x, y in seed_pairs(a, b):
            found = auc_lines(x, y) if measure == AUC else score_lines(x, y, measure)
            for line in found:
                yield (a.name, b.name, x.seed, y.seed, measure, *line)


def seed_pairs(a: Method, b: Method) -> list[tuple[Judged, Judged]]:
    """Equal seeds with each other; a single run with every seed; else in order."""
    if len(a.seeds) == 1 or len(b.seeds) == 1:
        return [(x, y) for x in a.seeds for y in b.seeds]
    of_b = {y.seed: y for y in b.seeds}
    same = [(x, of_b[x.seed]) for x in a.seeds if x.seed in of_b]
    return same or list(zip(a.seeds, b.seeds, strict=False))


def auc_lines(a: Judged, b: Judged) -> list[tuple]:
    """(finding, difference, low, high, images, no t, no p) of every finding both predict, and of their mean."""
    both = a.predictions.merge(b.predictions, on=KEYS, suffixes=("_a", "_b"))
    findings = [name for name in a.findings if name in b.findings]
    if both.empty or not findings:
        return []
    wide = {c: both.pivot(index=["id", "patient"], columns="finding", values=c)[findings]
            for c in ("label_a", "probability_a", "probability_b")}
    labels = wide["label_a"].astype("Float32").to_numpy(np.float32, na_value=np.nan)
    patients = wide["label_a"].index.get_level_values("patient").to_numpy()
    found = auc_difference(
        labels, wide["probability_a"].to_numpy(float), wide["probability_b"].to_numpy(float), findings, patients,
        draws=a.metrics["draws"], seed=a.metrics["seed"],
    )
    known = ~np.isnan(labels)
    count = dict(zip(findings, known.sum(0).tolist(), strict=True)) | {"mean": int(known.any(1).sum())}
    return [(name, i.value, i.low, i.high, count[name], "", "") for name, i in found.items()]


def score_lines(a: Judged, b: Judged, measure: str) -> list[tuple]:
    """The same for scores of images or grids, with the paired t-test."""
    tables = [scores(one, measure) for one in (a, b)]
    if any(t is None for t in tables):
        return []
    both = tables[0].merge(tables[1], on=KEYS, suffixes=("_a", "_b")).dropna()
    if both.empty:
        return []
    found = score_difference(
        both["score_a"].to_numpy(float), both["score_b"].to_numpy(float), both["finding"].to_numpy(),
        both["patient"].to_numpy(), draws=a.metrics["draws"], seed=a.metrics["seed"],
    )
    out = []
    for name, interval in found.items():
        own = both if name == "mean" else both[both["finding"] == name]
        means = own.groupby("patient")[["score_a", "score_b"]].mean()
        test = paired_t_test(means["score_a"].to_numpy(), means["score_b"].to_numpy())
        # patients have different findings: their means would be of another number than the mean over findings
        tested = ("", "") if name == "mean" else (test.t, test.p)
        out.append((name, interval.value, interval.low, interval.high, test.pairs, *tested))
    return out


def scores(one: Judged, measure: str) -> pd.DataFrame | None:
    """id, patient, finding, score of every annotated image, or of every grid (id: of its positive)."""
    table, column = (one.localisation, "inside") if measure == DISEASE else (one.grids, "score")
    return None if table is None else table[[*KEYS, column]].rename(columns={column: "score"})
