"""attrinet global"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from attrinet.cli.run_folder import open_run
from attrinet.report.figures import global_figure, png


@click.command("global")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write; RUN/global if left out.")
def command(run: Path, out: Path | None) -> None:
    """Draw what a model has learned: class centres and classifier weights of every finding (global.png, global.npz).

    \b
    Example:
      attrinet global runs/nih_64
    """
    opened = open_run(run, "cpu")
    opened.require_attrinet("global")
    model = opened.model
    folder = out or (run.parent if run.name == "best" else run) / "global"
    folder.mkdir(parents=True, exist_ok=True)
    result = model.global_explanation()
    (folder / "global.png").write_bytes(png(global_figure(result)))
    np.savez_compressed(
        folder / "global.npz", findings=np.array(result.findings), positive_center=result.positive_center.numpy(),
        negative_center=result.negative_center.numpy(), weights=result.weights.numpy(),
    )
    click.echo(f"written: {folder}")
