"""The self-contained HTML report of an evaluated run: everything a reader needs to trust it, or not to."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment, StrictUndefined

from attrinet.data.store import Store
from attrinet.errors import AttrinetError
from attrinet.metrics.auc import roc
from attrinet.nets.attrinet import AttriNet
from attrinet.report import figures
from attrinet.report.examples import Example, choose, located


def build_report(
    out: Path, *, title: str, model: AttriNet, store: Store, evaluation: Path, log: list[dict] = (), config: str = "",
) -> Path:
    """Write one HTML file to `out`, without any link to elsewhere.

    evaluation: folder that `attrinet evaluate` wrote. log: records of metrics.jsonl. config: YAML of the run.
    Raises AttrinetError when there is no evaluation yet.
    """
    try:
        metrics = json.loads((evaluation / "metrics.json").read_text())
        predictions = pd.read_parquet(evaluation / "predictions.parquet")
        localisation = pd.read_parquet(evaluation / "localisation.parquet")
    except (OSError, ValueError) as error:
        raise AttrinetError(f"{evaluation}: no usable evaluation ({error}); run attrinet evaluate first") from error
    store = store.select(model.findings)
    row_of = {id: k for k, id in enumerate(store.ids)}
    typical, wrong = choose(predictions, model.findings)
    page = template().render(
        title=title, metrics=metrics, findings=model.findings, store=store.meta, parameters=parameters(model),
        calls=calls_table(metrics, predictions, model.findings), size=model.image_size, config=config,
        roc=figures.data_uri(roc_picture(predictions, metrics, model.findings)),
        aucs=figures.data_uri(figures.intervals_figure(auc_rows(metrics, model.findings), "AUC, 95 % interval", 0.5)),
        training=training_picture(log),
        typical=[explained(model, store, row_of, e) for e in typical],
        wrong=[explained(model, store, row_of, e) for e in wrong],
        evidence=evidence_picture(model, store, row_of, localisation),
        centers=figures.data_uri(figures.global_figure(model.global_explanation())),
    )
    temporary = out.with_suffix(".tmp")
    try:
        temporary.write_text(page)
        temporary.replace(out)
    except OSError as error:
        raise AttrinetError(f"{out}: cannot be written ({error.strerror})") from error
    return out


def template():
    env = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    env.filters["interval"] = interval
    env.filters["number"] = number
    text = resources.files("attrinet.report").joinpath("templates/report.html").read_text()
    return env.from_string(text)


def number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def interval(value: dict, digits: int = 2) -> str:
    """0.93 [0.91, 0.95]"""
    if value["value"] is None:
        return "–"
    return f"{number(value['value'], digits)} [{number(value['low'], digits)}, {number(value['high'], digits)}]"


def parameters(model: AttriNet) -> int:
    return sum(p.numel() for p in model.parameters())


def calls_table(metrics: dict, predictions: pd.DataFrame, findings: tuple[str, ...]) -> list[dict]:
    rows = []
    for name in findings:
        labels = predictions.loc[predictions["finding"] == name, "label"]
        rows.append({
            "finding": name, "present": int((labels == 1).sum()), "absent": int((labels == 0).sum()),
            "unknown": int(labels.isna().sum()), "auc": metrics["auc"][name], **metrics["calls"][name],
            "class_sensitivity": metrics["class_sensitivity"][name],
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


def explained(model: AttriNet, store: Store, row_of: dict, example: Example) -> dict:
    """One picture: lines for the findings that are called or present, the example's own first."""
    row = row_of[example.id]
    images = store.batch([row])
    out = model.explain(images)
    own = model.findings.index(example.finding)
    shown = [own] + [
        c for c in range(len(model.findings)) if c != own and (out.called[0, c] or store.labels[row, c] == 1)
    ]
    masks = {c: m for c in shown if (m := store.mask(row, c)) is not None}
    present = [f for c, f in enumerate(model.findings) if store.labels[row, c] == 1]
    fig = figures.explanation_figure(images[0, 0].numpy(), out, 0, shown, masks)
    return {"picture": figures.data_uri(fig), "why": example.why, "id": example.id,
            "present": ", ".join(present) or "none of the findings", "outlined": bool(masks)}


def evidence_picture(model: AttriNet, store: Store, row_of: dict, localisation: pd.DataFrame) -> str | None:
    chosen = located(localisation, model.findings, each=2 if len(model.findings) <= 5 else 1)
    if chosen.empty:
        return None
    images, evidence, masks, captions = [], [], [], []
    for item in chosen.itertuples():
        row, c = row_of[item.id], model.findings.index(item.finding)
        x = store.batch([row])
        images.append(x[0, 0].numpy())
        evidence.append(model.attribute(x.to(model.device), c)[0].clamp(min=0).cpu().numpy())
        masks.append(store.mask(row, c))
        captions.append(f"{item.finding}\n{item.inside:.0%} in {item.area:.1%} of the area")
    return figures.data_uri(figures.evidence_figure(np.stack(images), np.stack(evidence), np.stack(masks), captions))
