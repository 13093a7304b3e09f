"""attrinet evaluate"""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np

from attrinet.cli.run_folder import Run, device_option, open_run, store_option
from attrinet.data.source import SPLITS
from attrinet.data.store import Store
from attrinet.errors import AttrinetError
from attrinet.evaluation import choose_thresholds, evaluate, jsonable
from attrinet.nets.attrinet import AttriNet
from attrinet.protocols import Explainer
from attrinet.provenance import provenance
from attrinet.train.checkpoint import write_atomically

WORTH_TUNING = 200  # images from which measuring how to group the findings pays off


@click.command("evaluate")
@click.argument("run", type=click.Path(path_type=Path))
@store_option
@click.option("--split", type=click.Choice(SPLITS), default="test", show_default=True)
@click.option("--where", multiple=True, metavar="COLUMN=VALUE", help="Only images with this value in the manifest.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write; RUN/evaluation if left out.")
@click.option("--draws", default=1000, show_default=True, help="Bootstrap draws over patients.")
@click.option("--grids", default=200, show_default=True, help="2×2 grids a finding for class sensitivity.")
@click.option("--seed", default=0, show_default=True, help="Of bootstrap and grids.")
@click.option("--set-thresholds", is_flag=True, help="Choose thresholds on 'valid' first and keep them in the model.")
@device_option
@click.option("--quiet", is_flag=True, help="No progress bar.")
def command(run, store, split, where, out, draws, grids, seed, set_thresholds, device, quiet) -> None:
    """Judge a trained model: AUC, calls at Youden's threshold, class and disease sensitivity, 95 % intervals.

    Writes metrics.json, predictions.parquet and localisation.parquet.

    \b
    Examples:
      attrinet evaluate runs/nih_64
      attrinet evaluate runs/nih_64 --where Pneumonia=1 --out runs/nih_64/evaluation-sick
      attrinet evaluate models/theirs --store stores/chexpert --set-thresholds
    """
    opened = open_run(run, device)
    data = opened.store(store)
    if set_thresholds:
        save_thresholds(opened, choose_thresholds(opened.model, data))
        opened = open_run(run, device)
    folder = out or default_folder(run)
    result = run_evaluation(
        opened, data, split, where, folder, draws=draws, grids=grids, seed=seed, progress=not quiet
    )
    click.echo(summary(result))
    click.echo(f"written: {folder}")


def default_folder(run: Path) -> Path:
    return (run.parent if run.name == "best" else run) / "evaluation"


def run_evaluation(
    run: Run, store: Store, split: str, where: tuple[str, ...], folder: Path, *, explainer: Explainer | None = None,
    **options,
) -> dict:
    """Evaluate and save; returns the metrics as written. explainer: judged in place of the model's own explanation."""
    thresholds = dict(zip(run.model.findings, run.model.thresholds.tolist(), strict=True))
    rows = chosen(store, split, where)
    attrinet = isinstance(run.model, AttriNet)
    if attrinet and len(rows) >= WORTH_TUNING:
        run.model.tune(store.batch(rows[:4]))
    result = evaluate(run.model, explainer or run.explainer, store, rows, thresholds, **options)
    result.metrics.update({
        "split": split, "where": list(where), "store": str(store.path), "store_checksum": store.meta["checksum"],
        "provenance": provenance(run.model.device) | {
            **({"findings in one pass": run.model.findings_per_pass} if attrinet else {}),
            "training seed": run.config.run.seed if run.config else None,
        },
    })
    try:
        result.save(folder)
    except OSError as error:
        raise AttrinetError(f"{folder}: cannot be written ({error.strerror})") from error
    return jsonable(result.metrics)


def chosen(store: Store, split: str, where: tuple[str, ...]) -> np.ndarray:
    """Rows of a split whose manifest columns have the asked values."""
    keep = (store.manifest["split"] == split).to_numpy()
    for condition in where:
        column, sign, value = condition.partition("=")
        if not sign or column not in store.manifest.columns:
            raise AttrinetError(f"--where {condition}: want COLUMN=VALUE; the columns are "
                                f"{', '.join(map(str, store.manifest.columns))}")
        keep = keep & (store.manifest[column].astype("string") == value).fillna(False).to_numpy(bool)
    return np.flatnonzero(keep)


def save_thresholds(run: Run, thresholds: dict[str, float]) -> None:
    folder = run.path if (run.path / "thresholds.json").exists() else run.path / "best"
    write_atomically(folder / "thresholds.json", lambda p: p.write_text(json.dumps(thresholds, indent=2) + "\n"))


def summary(metrics: dict) -> str:
    """The figures of metrics.json as a table for the terminal."""
    def cell(value: dict, digits: int = 3) -> str:
        if value["value"] is None:
            return "–"
        low, high = (f"{value[k]:.{digits}f}" if value[k] is not None else "–" for k in ("low", "high"))
        return f"{value['value']:.{digits}f} [{low}, {high}]"

    explained = "class_sensitivity" in metrics
    located = metrics["disease_sensitivity"]["true_positives"] if explained else {}
    names = [n for n in metrics["auc"] if n != "mean"]
    width = max(map(len, names)) + 2
    heads = ("AUC", "sensitivity", "specificity", *(("class sens.", "evidence in lesion") if explained else ()))
    lines = [f"{metrics['images']} images, {metrics['patients']} patients; 95 % intervals over patients",
             " " * width + "".join(f"{head:>24}" for head in heads)]
    for name in [*names, "mean"]:
        calls = metrics["calls"].get(name)
        cells = [cell(metrics["auc"][name]), *(cell(calls[k]) if calls else "" for k in ("sensitivity", "specificity"))]
        if explained:
            score = metrics["class_sensitivity"][name]
            score = score if name == "mean" else score["mean"]
            cells += ["–" if score is None else f"{score:.3f}",
                      cell(located[name]["enrichment"], 1) + " ×" if name in located else "–"]
        lines.append(f"{name:<{width}}" + "".join(f"{c:>24}" for c in cells))
    if not explained:
        lines.append("explanations not judged: this model has none of its own")
    elif metrics["disease_sensitivity"]["blank"]:
        lines.append(f"maps without positive evidence, left out of the last column: "
                     f"{metrics['disease_sensitivity']['blank']} of {metrics['disease_sensitivity']['annotated']}")
    return "\n".join(lines)
