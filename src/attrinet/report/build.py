"""The self-contained HTML report of an evaluated run: everything a reader needs to trust it, or not to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from attrinet.data.store import Store
from attrinet.errors import AttrinetError
from attrinet.facts import gather
from attrinet.metrics.auc import roc
from attrinet.model_card import model_card
from attrinet.numerals import number
from attrinet.report import figures
from attrinet.report.cases import cases_picture, evidence_picture, explained, located_picture
from attrinet.report.claim import claim
from attrinet.report.curves import losses_figure
from attrinet.report.data_card import data_card
from attrinet.report.examples import best_and_worst, choose, failures
from attrinet.report.pages import write_page


@dataclass(frozen=True)
class Evaluation:
    """What `attrinet evaluate` wrote about a run."""

    metrics: dict
    predictions: pd.DataFrame
    localisation: pd.DataFrame


def read_evaluation(folder: Path) -> Evaluation:
    """Raises AttrinetError when there is no usable evaluation in the folder."""
    try:
        return Evaluation(
            json.loads((folder / "metrics.json").read_text()), pd.read_parquet(folder / "predictions.parquet"),
            pd.read_parquet(folder / "localisation.parquet"),
        )
    except (OSError, ValueError) as error:
        raise AttrinetError(f"{folder}: no usable evaluation ({error}); run attrinet evaluate first") from error


def build_report(
    out: Path, *, title: str, model, store: Store, evaluation: Path, log: list[dict] = (), config: str = "",
    run: Path | None = None,
) -> Path:
    """Write one HTML file to `out`, without any link to elsewhere.

    model: an Attri-Net or a baseline; what a model cannot show is left out. evaluation: folder that `attrinet evaluate`
    wrote. log: records of metrics.jsonl. config: YAML of the run. run: its folder, for what training left there.
    Raises AttrinetError when there is no evaluation yet.
    """
    judged = read_evaluation(evaluation)
    metrics, predictions, findings = judged.metrics, judged.predictions, model.findings
    store = store.select(findings)
    row_of = {id: k for k, id in enumerate(store.ids)}
    lost = [id for id in predictions["id"].unique() if id not in row_of]
    if lost:
        raise AttrinetError(f"{evaluation}: judged images that {store.path} lacks ({lost[0]}, …); name the store it "
                            "was made on with --store")
    store.require_judged(metrics, evaluation)
    facts = gather(model, title, run=run, store=store, metrics=metrics)
    localisation = judged.localisation.iloc[:0] if facts.rival else judged.localisation
    answers, unanswered = claim(facts)
    typical, wrong = choose(predictions, findings)
    best, worst = best_and_worst(predictions)

    def show(examples):
        return [explained(model, store, row_of, e) for e in examples]

    return write_page(
        out, "report.html", title=title, metrics=metrics, findings=findings, facts=facts, config=config,
        data=data_card(store, facts), calls=calls_table(metrics, predictions, findings),
        roc=figures.data_uri(roc_picture(predictions, metrics, findings)),
        aucs=figures.data_uri(figures.intervals_figure(auc_rows(metrics, findings), "AUC, 95 % interval", 0.5)),
        training=training_picture(log), losses=losses_picture(log), typical=show(typical), best=show(best),
        worst=show(worst), wrong=show(wrong),
        failures=[(f, cases_picture(model, store, row_of, f)) for f in failures(predictions, findings)],
        evidence=evidence_picture(model, store, row_of, localisation),
        extremes=located_picture(model, store, row_of, localisation),
        centers=figures.data_uri(figures.global_figure(model.global_explanation()))
        if hasattr(model, "global_explanation") else None,
        card=model_card(facts), claim=answers, unanswered=unanswered,
    )


def calls_table(metrics: dict, predictions: pd.DataFrame, findings: tuple[str, ...]) -> list[dict]:
    rows = []
    for name in findings:
        labels = predictions.loc[predictions["finding"] == name, "label"]
        rows.append({
            "finding": name, "present": int((labels == 1).sum()), "absent": int((labels == 0).sum()),
            "unknown": int(labels.isna().sum()), "auc": metrics["auc"][name], **metrics["calls"][name],
            "class_sensitivity": metrics.get("class_sensitivity", {}).get(name),
        })
    return rows


def auc_rows(metrics: dict, findings: tuple[str, ...]) -> list[tuple[str, float, float, float]]:
    rows = [(name, *metrics["auc"][name].values()) for name in (*findings, "mean")]
    return [(name, *(np.nan if v is None else v for v in values)) for name, *values in rows]


def roc_picture(predictions: pd.DataFrame, metrics: dict, findings: tuple[str, ...]):
    curves, labels = {}, {}
    for name in findings:
        rows = predictions[predictions["finding"] == name]
        truth = rows["label"].astype("Float64").to_numpy(float, na_value=np.nan)
        if metrics["auc"][name]["value"] is None:
            continue
        fpr, tpr, _ = roc(truth, rows["probability"].to_numpy())
        curves[name], labels[name] = (fpr, tpr), f"{name}  {number(metrics['auc'][name]['value'])}"
    return figures.roc_figure(curves, labels)


def training_picture(log: list[dict]) -> str | None:
    train, valid = ([r for r in log if r["kind"] == kind] for kind in ("train", "valid"))
    return figures.data_uri(figures.training_figure(train, valid)) if train and valid else None


def losses_picture(log: list[dict]) -> str | None:
    fig = losses_figure([r for r in log if r["kind"] == "train"])
    return figures.data_uri(fig) if fig else None
