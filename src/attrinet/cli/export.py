"""attrinet export"""

from __future__ import annotations

from pathlib import Path

import click
import torch

from attrinet.cli.run_folder import Run, home, open_run, store_option
from attrinet.errors import AttrinetError
from attrinet.export.model import export
from attrinet.nets.attrinet import AttriNet

REAL = 6  # images of the store that the export is compared on


@click.command("export")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--format", "format", default="onnx", show_default=True, metavar="onnx|openvino")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write; RUN/export if left out.")
@store_option
def command(run, format, out, store) -> None:
    """Write an Attri-Net for another runtime: model.onnx, or model.xml and model.bin, and model.json with what its
    numbers mean. Any batch size; outputs are logits, probabilities, attribution maps and contributions.

    The result is compared with PyTorch, on noise and on images of the run's store where there is one, and kept only if
    no number differs by more than: logits 0.001, probabilities and attribution 0.0001, contributions 0.00001.

    \b
    Examples:
      attrinet export runs/nih_64
      attrinet export runs/nih_64 --format openvino --out exported/
    """
    opened = open_run(run, "cpu")
    if not isinstance(opened.model, AttriNet):
        raise AttrinetError(f"{run}: holds a {opened.model.name}; only an Attri-Net can be exported with its maps")
    folder = out or home(run) / "export"
    real = real_images(opened, store)
    worst = export(opened.model, format, folder, real)
    click.echo(f"compared with PyTorch on noise and {0 if real is None else len(real)} real images; largest "
               f"differences: {', '.join(f'{name} {value:.1e}' for name, value in worst.items())}")
    click.echo(f"written: {folder}")


def real_images(run: Run, store: Path | None) -> torch.Tensor | None:
    """The first images of the store that --store names, or the run if it is still there."""
    try:
        data = run.store(store)
    except AttrinetError:
        if store is not None:
            raise
        return None
    return data.batch(range(min(REAL, len(data))))
