"""attrinet export"""

from __future__ import annotations

from pathlib import Path

import click
import torch

from attrinet.cli.run_folder import home, open_run, store_option
from attrinet.data.store import Store
from attrinet.errors import AttrinetError
from attrinet.export.model import export
from attrinet.nets.attrinet import AttriNet

REAL, JUDGED, CALIBRATION = 6, 64, 64  # images of the store: float32 and others are compared on; int8 is fitted to


@click.command("export")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--format", "format", default="onnx", show_default=True, metavar="onnx|openvino")
@click.option("--precision", default="float32", show_default=True, metavar="float32|bfloat16|int8|fastest",
              help="Of OpenVINO; fastest: whichever is on this machine.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write; RUN/export if left out.")
@store_option
def command(run, format, precision, out, store) -> None:
    """Write an Attri-Net for another runtime: model.onnx, or model.xml and model.bin, and model.json with what its
    numbers mean. Any batch size; outputs are logits, probabilities, attribution maps and contributions.

    The result is compared with PyTorch, on noise and on images of the run's store where there is one, and kept only if
    no number differs by more than: logits 0.001, probabilities and attribution 0.0001, contributions 0.00001.
    Other precisions are faster, and compared on images of the store: kept if no probability differs by more than 0.01
    and the maps' signal-to-noise ratio is 40 dB or more. int8 takes its ranges from 64 training images.

    \b
    Examples:
      attrinet export runs/nih_64
      attrinet export runs/nih_64 --format openvino --out exported/
      attrinet export runs/nih_64 --format openvino --precision fastest
    """
    opened = open_run(run, "cpu")
    if not isinstance(opened.model, AttriNet):
        raise AttrinetError(f"{run}: holds a {opened.model.name}; only an Attri-Net can be exported with its maps")
    folder = out or home(run) / "export"
    data = opened.store_if_there(store)
    lossy = precision != "float32"
    real = None if data is None else images(data, "valid" if lossy else None, JUDGED if lossy else REAL)
    calibration = images(data, "train", CALIBRATION) if lossy and data is not None else None
    said = export(opened.model, format, folder, real, precision=precision, calibration=calibration)
    click.echo(f"compared with PyTorch on {'' if lossy else 'noise and '}{said['of which real']} real images")
    if lossy:
        for name, found in said["precisions"].items():
            click.echo(f"{name}: {found['seconds an image']:.3f} s an image, probabilities differ by up to "
                       f"{found['probability']:.4f}, maps at {found['psnr']:.1f} dB"
                       f"{'' if found['allowed'] else ' (not allowed)'}")
        click.echo(f"kept: {next(iter(said['precisions']))}")
    else:
        worst = said["largest differences from PyTorch"]
        click.echo(f"largest differences: {', '.join(f'{name} {value:.1e}' for name, value in worst.items())}")
    click.echo(f"written: {folder}")


def images(data: Store, split: str | None, count: int) -> torch.Tensor:
    rows = range(len(data)) if split is None else data.split(split)
    return data.batch(rows[:count])
