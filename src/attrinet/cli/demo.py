"""attrinet demo"""

from __future__ import annotations

import os
from pathlib import Path

import click


@click.command("demo")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/demo"), show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True,
              help="Of phantoms, training and evaluation.")
@click.option("--phantoms", default=3000, show_default=True, help="How many to draw.")
@click.option("--quiet", is_flag=True, help="No progress bars.")
def command(overrides: tuple[str, ...], out: Path, seed: int, phantoms: int, quiet: bool) -> None:
    """The whole story on phantom radiographs, on a CPU in minutes; ends with an HTML report.

    Draws phantoms, trains a small Attri-Net on them, judges it on held-out ones, and writes local and global
    explanations. Stopped and started again, it goes on where it was.

    \b
    Example:
      attrinet demo --out runs/demo
    """
    from attrinet.allocator import keep_freed_memory
    from attrinet.demo import demo

    keep_freed_memory()
    demo(out, seed=seed, phantoms=phantoms, overrides=overrides, workers=os.cpu_count() or 1, progress=not quiet,
         say=click.echo)
