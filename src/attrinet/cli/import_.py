"""attrinet import"""

from __future__ import annotations

from pathlib import Path

import click

from attrinet.authors_checkpoint import import_checkpoint
from attrinet.data.images import INTENSITIES
from attrinet.folder import save_model


@click.command("import")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Model folder to write.")
@click.option("--findings", required=True, help="Names in the order the model was trained with, comma-separated.")
@click.option("--image-size", default=320, show_default=True, help="Pixels a side.")
@click.option("--which", type=click.Choice(["best", "last"]), default="best", show_default=True)
@click.option("--intensity", type=click.Choice(INTENSITIES), default="paper", show_default=True,
              help="Grey-level mapping of the training images.")
def command(folder: Path, out: Path, findings: str, image_size: int, which: str, intensity: str) -> None:
    """Import a checkpoint FOLDER of the authors' code (net_g_best.pth, classifier_of_*_best.pth, …).

    Thresholds are set to 0.5: `attrinet evaluate OUT --store STORE --set-thresholds` chooses them on the store's
    validation images.

    \b
    Example:
      attrinet import attri-net/ckpt --out models/theirs --findings Atelectasis,Cardiomegaly,Edema
    """
    names = [name.strip() for name in findings.split(",")]
    model = import_checkpoint(folder, names, image_size, which)
    save_model(
        model, out, thresholds=dict.fromkeys(names, 0.5), preprocessing={"intensity": intensity, "keep_aspect": False}
    )
    click.echo(f"{out}: {len(names)} findings, {image_size}×{image_size} pixels, width {model.width}")
