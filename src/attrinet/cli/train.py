"""attrinet train"""

from __future__ import annotations

from pathlib import Path

import click
from lightning_fabric.utilities.rank_zero import rank_zero_only

from attrinet.allocator import keep_freed_memory
from attrinet.errors import AttrinetError
from attrinet.train.config import load_config


@click.command("train")
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder; runs/<name of CONFIG> if left out.")
@click.option("--resume", is_flag=True, help="Go on from the newest checkpoint of the run folder.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def command(config: Path, overrides: tuple[str, ...], out: Path | None, resume: bool, quiet: bool) -> None:
    """Train Attri-Net or a baseline from a YAML CONFIG, or go on with a run folder given as CONFIG.

    \b
    Examples:
      attrinet train configs/nih_64.yaml
      attrinet train configs/chexpert.yaml data.store=stores/chexpert run.precision=bf16 run.devices=4
      attrinet train configs/resnet50.yaml data.store=stores/chexpert
      attrinet train runs/nih_64 --resume
    """
    if config.is_dir():
        config, out = config / "config.yaml", out or config
    elif resume and config.name == "config.yaml" and (config.parent / "checkpoints").is_dir():
        out = out or config.parent  # RUN/config.yaml stands for RUN
    elif resume and not config.exists() and not out:
        raise AttrinetError(f"{config}: no run is there to go on with")
    settings = load_config(config, overrides)
    keep_freed_memory()
    if settings.model.kind == "attrinet":
        from attrinet.train.loop import train
    else:
        from attrinet.baselines.loop import train
    best = train(settings, out or Path("runs") / config.stem, resume=resume, progress=not quiet)
    if rank_zero_only.rank == 0:
        click.echo(f"best model: {best}")
