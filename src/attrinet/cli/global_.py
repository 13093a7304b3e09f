"""attrinet global"""

from __future__ import annotations

import math
from pathlib import Path

import click
import numpy as np

from attrinet.cli.run_folder import Run, home, open_run, store_option
from attrinet.data.sampling import generator_for
from attrinet.data.store import Store
from attrinet.errors import AttrinetError
from attrinet.facts import read_json
from attrinet.files import write_json
from attrinet.metrics.suspicious_center import ALARM, Suspicion, suspicious_center
from attrinet.nets.attrinet import GlobalExplanation
from attrinet.report.figures import global_figure, png
from attrinet.train.log import read_log

LEARNED = 0.6  # validation AUC of a finding from which an alarm for it is worth a look
COMPARED = 300  # training images with and without a finding whose detail is compared; one a patient


@click.command("global")
@click.argument("run", type=click.Path(path_type=Path))
@store_option
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write; RUN/global if left out.")
def command(run: Path, store: Path | None, out: Path | None) -> None:
    """Draw what a model has learned, and point at what looks like a shortcut.

    Writes the class centres and classifier weights of every finding (global.png, global.npz) and, where the images it
    was trained on are at hand, how suspicious every positive centre is (suspicion.json): whether it is strongest where
    images of different patients repeat each other in fine detail, as a tag does and anatomy does not. This needs a
    trained model: the centres of one that has learned nothing are strong anywhere.

    \b
    Examples:
      attrinet global runs/nih_64
      attrinet global models/theirs --store stores/chexpert
    """
    opened = open_run(run, "cpu")
    opened.require_attrinet("global")
    folder = out or home(run) / "global"
    data = opened.store_if_there(store, "centres not judged")
    scores = write_global(opened, data, folder)
    aucs = validation_aucs(home(run))
    for name, found in scores.items():
        if found.alarm:
            click.echo(f"suspicious: the positive centre of {name} is strong near row {found.row}, column "
                       f"{found.column}, where images of different patients repeat each other (score "
                       f"{found.score:.2f}, alarm from {ALARM}){advice(aucs.get(name))}")
    if data is not None and (unknown := [f for f in opened.model.findings if f not in scores]):
        click.echo(f"not judged: {', '.join(unknown)} (a flat centre, or fewer than two patients with or without it)")
    if scores and not any(found.alarm for found in scores.values()):
        click.echo(f"no suspicious centre: highest score {max(found.score for found in scores.values()):.2f}, alarm "
                   f"from {ALARM}. A shortcut whose place changes from image to image is not found this way")
    click.echo(f"written: {folder}")


def validation_aucs(run: Path) -> dict[str, float | None]:
    """Finding → AUC of the kept model on the validation images; {} where no log of its training is at hand."""
    step = read_json(run, "best/training.json").get("step")
    return next((r["auc"] for r in read_log(run / "metrics.jsonl") if (r["kind"], r["step"]) == ("valid", step)), {})


def advice(auc: float | None) -> str:
    if auc is None or auc >= LEARNED:
        return ". Look there in global.png before you trust it"
    return (f", but the model has hardly learned this finding (validation AUC {auc:.2f}): train longer before you "
            "trust this")


def write_global(run: Run, store: Store | None, folder: Path) -> dict[str, Suspicion]:
    """global.png, global.npz and suspicion.json, and what is in the last: nothing without a store to judge by."""
    result = run.model.global_explanation()
    scores = suspicions(store.select(result.findings), result) if store is not None else {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save(folder, result, scores)
    except OSError as error:
        raise AttrinetError(f"{folder}: cannot be written ({error.strerror}); choose another with --out") from error
    return scores


def suspicions(store: Store, result: GlobalExplanation) -> dict[str, Suspicion]:
    """Of every finding that has at least two patients with and without it to compare, and a centre that is not flat."""
    found = {}
    for c, name in enumerate(result.findings):
        positives, negatives = (compared(store, c, label) for label in (1, 0))
        found[name] = suspicious_center(result.positive_center[c].cpu().numpy(), positives, negatives)
    return {name: suspicion for name, suspicion in found.items() if not math.isnan(suspicion.score)}


def compared(store: Store, finding: int, label: int) -> np.ndarray:
    """Grey levels (N, H, W) of at most COMPARED training images of one label, one a patient, drawn with seed 0."""
    rows = store.split("train")
    rows = generator_for(0, finding, label).permutation(rows[store.labels[rows, finding] == label])
    first = np.unique(store.patients[rows].astype(str), return_index=True)[1]
    return store.images[np.sort(rows[np.sort(first)[:COMPARED]])]


def save(folder: Path, result: GlobalExplanation, scores: dict[str, Suspicion]) -> None:
    marks = {name: (found.row, found.column) for name, found in scores.items() if found.alarm}
    (folder / "global.png").write_bytes(png(global_figure(result, marks)))
    np.savez_compressed(
        folder / "global.npz", findings=np.array(result.findings), positive_center=result.positive_center.cpu().numpy(),
        negative_center=result.negative_center.cpu().numpy(), weights=result.weights.cpu().numpy(),
    )
    table = {name: {"score": found.score, "row": found.row, "column": found.column, "alarm": found.alarm}
             for name, found in scores.items()}
    write_json(folder / "suspicion.json", table)
