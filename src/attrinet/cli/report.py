"""attrinet report"""

from __future__ import annotations

from pathlib import Path

import click

from attrinet.cli.evaluate import default_folder
from attrinet.cli.run_folder import Run, device_option, open_run, store_option
from attrinet.data.store import Store
from attrinet.errors import AttrinetError
from attrinet.facts import gather
from attrinet.report.build import build_report, read_evaluation
from attrinet.report.side_by_side import Column, build_side_by_side
from attrinet.train.log import read_log


@click.command("report")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@store_option
@click.option("--evaluation", type=click.Path(path_type=Path), help="Folder of `evaluate`; RUN/evaluation if left out.")
@click.option("--out", type=click.Path(path_type=Path),
              help="File to write; RUN/report.html if left out, of several runs report.html.")
@device_option
def command(runs, store, evaluation, out, device) -> None:
    """Write the report of an evaluated run: one HTML file that needs nothing else and can be printed.

    Data card, training curves, tables with intervals, explanations, best and worst cases, failures, a model card and
    the CLAIM 2024 items the run answers by itself. Several RUNs are put side by side on one page.

    \b
    Examples:
      attrinet report runs/nih_64
      attrinet report runs/unguided runs/guided --out guidance.html
    """
    if len(runs) == 1:
        opened = open_run(runs[0], device)
        target = out or runs[0] / "report.html"
        path = write_report(opened, opened.store(store), evaluation or default_folder(runs[0]), target)
    else:
        if evaluation:
            raise AttrinetError(f"--evaluation {evaluation}: of several runs, each one's own evaluation is read; leave "
                                "it out")
        path = build_side_by_side(out or Path("report.html"), [column(run, store, device) for run in runs])
    click.echo(f"written: {path}")


def write_report(run: Run, store: Store, evaluation: Path, out: Path) -> Path:
    saved = run.path / "config.yaml"
    return build_report(
        out, title=run.path.resolve().name, model=run.model, store=store, evaluation=evaluation,
        log=read_log(run.path / "metrics.jsonl"), config=saved.read_text() if saved.exists() else "", run=run.path,
    )


def column(run: Path, store: Path | None, device: str) -> Column:
    opened = open_run(run, device)
    judged = read_evaluation(default_folder(run))
    facts = gather(opened.model, run.resolve().name, run=run, store=opened.store(store), metrics=judged.metrics)
    return Column(facts, judged, opened.model, read_log(run / "metrics.jsonl"))
