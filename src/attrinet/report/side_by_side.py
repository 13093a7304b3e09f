"""Several evaluated runs on one page: what differs between them, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from attrinet.errors import AttrinetError
from attrinet.facts import Facts
from attrinet.report import figures
from attrinet.report.build import Evaluation
from attrinet.report.curves import curves_figure, grouped_intervals_figure
from attrinet.report.pages import write_page

NO_VALUE = {"value": None, "low": None, "high": None}


@dataclass(frozen=True)
class Column:
    """One run of the page. log: records of its metrics.jsonl."""

    facts: Facts
    judged: Evaluation
    model: object
    log: list[dict]

    @property
    def title(self) -> str:
        return self.facts.title


def build_side_by_side(out: Path, columns: Sequence[Column]) -> Path:
    """Write one HTML file to `out`. Findings that a run lacks stay blank in its column.

    Raises AttrinetError for two runs of one name.
    """
    titles = [column.title for column in columns]
    if len(set(titles)) < len(titles):
        twice = next(title for title in titles if titles.count(title) > 1)
        raise AttrinetError(f"{twice}: two runs have this name; rename a folder")
    findings = list(dict.fromkeys(name for column in columns for name in column.facts.findings))
    metrics = [column.judged.metrics for column in columns]
    same = len({(m["store_checksum"], m.get("truth_checksum"), m["split"], tuple(m["where"])) for m in metrics}) == 1
    return write_page(
        out, "runs.html", title=" · ".join(titles), columns=columns, findings=findings, same=same,
        auc=interval_rows(metrics, [*findings, "mean"], lambda m, f: m["auc"][f]),
        sensitivity=interval_rows(metrics, findings, lambda m, f: m["calls"][f]["sensitivity"]),
        specificity=interval_rows(metrics, findings, lambda m, f: m["calls"][f]["specificity"]),
        class_sensitivity=[(f, [class_value(m, f) for m in metrics]) for f in [*findings, "mean"]],
        inside=interval_rows(metrics, [*findings, "mean"], lambda m, f: m["disease_sensitivity"]["all"][f]["inside"]),
        enrichment=interval_rows(metrics, [*findings, "mean"],
                                 lambda m, f: m["disease_sensitivity"]["true_positives"][f]["enrichment"]),
        disagreements=list(disagreements(columns, findings)) if same else [],
        differences=config_differences(columns), curves=validation_picture(columns),
        aucs=figures.data_uri(auc_picture(columns, [*findings, "mean"])),
        centers=[(column.title, figures.data_uri(figures.global_figure(column.model.global_explanation())))
                 for column in columns if hasattr(column.model, "global_explanation")],
    )


def interval_rows(metrics: Sequence[Mapping], names: Sequence[str], get) -> list[tuple[str, list[dict]]]:
    """(name, an interval a run); an interval without value where a run has none."""
    def value(m, name):
        try:
            return get(m, name)
        except KeyError:
            return NO_VALUE

    return [(name, [value(m, name) for m in metrics]) for name in names]


def class_value(metrics: Mapping, name: str) -> float | None:
    section = metrics.get("class_sensitivity", {}).get(name)
    return section["mean"] if isinstance(section, Mapping) else section


def disagreements(columns: Sequence[Column], findings: Sequence[str]) -> Iterator[tuple[str, str, list[int | None]]]:
    """(run, other run, images a finding on which their calls differ); for runs judged on the same images."""
    called = [c.judged.predictions.pivot(index="id", columns="finding", values="called") for c in columns]
    for (k, a), (n, b) in combinations(enumerate(called), 2):
        counts = [int((a[f] != b[f].reindex(a.index)).sum()) if f in a and f in b else None for f in findings]
        yield columns[k].title, columns[n].title, counts


def config_differences(columns: Sequence[Column]) -> list[tuple[str, list[str]]]:
    """(option, its value in every run) where the runs' configurations differ."""
    options = [dict(flat(column.facts.config)) for column in columns]
    keys = dict.fromkeys(key for option in options for key in option)
    rows = [(key, [str(option.get(key, "–")) for option in options]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def flat(config: Mapping, prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def validation_picture(columns: Sequence[Column]) -> str | None:
    curves = {c.title: [(r["step"], r["mean_auc"]) for r in c.log if r["kind"] == "valid"] for c in columns}
    curves = {title: points for title, points in curves.items() if points}
    return figures.data_uri(curves_figure(curves, "mean validation AUC")) if curves else None


def auc_picture(columns: Sequence[Column], names: Sequence[str]):
    def points(metrics):
        values = [metrics["auc"].get(name, NO_VALUE) for name in names]
        return [tuple(np.nan if v[k] is None else v[k] for k in ("value", "low", "high")) for v in values]

    runs = {c.title: points(c.judged.metrics) for c in columns}
    return grouped_intervals_figure(names, runs, "AUC, 95 % interval", 0.5)
