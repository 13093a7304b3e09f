"""attrinet train-autoencoder"""

from __future__ import annotations

from pathlib import Path

import click
from safetensors import SafetensorError

from attrinet.allocator import keep_freed_memory
from attrinet.cli.run_folder import device_option
from attrinet.data.store import Store
from attrinet.errors import AttrinetError
from attrinet.files import cannot_write
from attrinet.folder import usable_device
from attrinet.posthoc.autoencoder import save_autoencoder, train_autoencoder


@click.command("train-autoencoder")
@click.argument("store", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--steps", default=10_000, show_default=True, help="Of 16 images each.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@device_option
@click.option("--quiet", is_flag=True, help="No progress bar.")
def command(store, out, steps, seed, device, quiet) -> None:
    """Train an autoencoder on the training images of a STORE, for attrinet evaluate --explainer gifsplanation.

    Stopped or killed, the same command goes on where it was.

    \b
    Example:
      attrinet train-autoencoder stores/chexpert --out autoencoders/chexpert
      attrinet evaluate runs/resnet50 --explainer gifsplanation --autoencoder autoencoders/chexpert
    """
    if steps < 1:
        raise AttrinetError(f"--steps {steps}: want 1 or more")
    data = Store.open(store)
    rows = data.split("train")
    if len(rows) == 0:
        raise AttrinetError(f"{store}: no 'train' images; prepare it with a train split")
    keep_freed_memory()
    checkpoint = out / "checkpoint.safetensors"
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(out, error) from error
    model = train_autoencoder(data.images, rows=rows, steps=steps, seed=seed, device=usable_device(device),
                              progress=not quiet, checkpoint=checkpoint, source=data.meta["checksum"])
    try:
        save_autoencoder(model, out)
        for left in (checkpoint, *out.glob(".tmp*")):  # also what a kill left half-written
            left.unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        raise cannot_write(out, error) from error
    click.echo(f"written: {out}")
