"""attrinet report"""

from __future__ import annotations

from pathlib import Path

import click

from attrinet.cli.evaluate import default_folder
from attrinet.cli.run_folder import Run, device_option, open_run, store_option
from attrinet.data.store import Store
from attrinet.report.build import build_report
from attrinet.train.log import read_log


@click.command("report")
@click.argument("run", type=click.Path(path_type=Path))
@store_option
@click.option("--evaluation", type=click.Path(path_type=Path), help="Folder of `evaluate`; RUN/evaluation if left out.")
@click.option("--out", type=click.Path(path_type=Path), help="File to write; RUN/report.html if left out.")
@device_option
def command(run, store, evaluation, out, device) -> None:
    """Write the report of an evaluated run: one HTML file that needs nothing else.

    \b
    Example:
      attrinet evaluate runs/nih_64 && attrinet report runs/nih_64
    """
    opened = open_run(run, device)
    opened.require_attrinet("report")
    path = write_report(opened, opened.store(store), evaluation or default_folder(run), out or run / "report.html")
    click.echo(f"written: {path}")


def write_report(run: Run, store: Store, evaluation: Path, out: Path) -> Path:
    saved = run.path / "config.yaml"
    return build_report(
        out, title=run.path.resolve().name, model=run.model, store=store, evaluation=evaluation,
        log=read_log(run.path / "metrics.jsonl"), config=saved.read_text() if saved.exists() else "",
    )
