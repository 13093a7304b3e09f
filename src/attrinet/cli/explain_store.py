"""attrinet explain-store"""

from __future__ import annotations

import re
from pathlib import Path

import click

from attrinet.allocator import keep_freed_memory
from attrinet.cli.run_folder import Run, device_option, home, open_run, store_option
from attrinet.data.source import SPLITS
from attrinet.errors import AttrinetError
from attrinet.export.bulk import Bulk, explain_store
from attrinet.export.engine import facts_of, own_engine
from attrinet.nets.attrinet import AttriNet


@click.command("explain-store")
@click.argument("run", type=click.Path(path_type=Path))
@store_option
@click.option("--split", type=click.Choice(SPLITS), default="test", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write; RUN/explained-SPLIT if left out.")
@click.option("--workers", default=1, show_default=True, help="Processes.")
@click.option("--shard", default="1/1", show_default=True, metavar="i/n", help="This machine's part of the work.")
@click.option("--dtype", type=click.Choice(("float32", "float16")), default="float32", show_default=True,
              help="float16 takes half the room and is off by at most 0.05 %.")
@click.option("--engine", default="auto", show_default=True, metavar="auto|none|FOLDER",
              help="What makes the maps: files of `attrinet export --format openvino`, which auto looks for in "
              "RUN/export; none: PyTorch.")
@click.option("--precision", type=click.Choice(("fp32", "bf16")), default="fp32", show_default=True,
              help="What PyTorch computes an Attri-Net's maps in; bf16 for GPUs.")
@click.option("--compile", "compiled", type=click.Choice(("auto", "never")), default="auto", show_default=True,
              help="On a GPU, compile an Attri-Net's generator where Triton and a C compiler are there.")
@device_option
@click.option("--quiet", is_flag=True, help="No progress bar.")
def command(run, store, split, out, workers, shard, dtype, engine, precision, compiled, device, quiet) -> None:
    """Explain every image of a split of a store, in shards of 256 images.

    Writes predictions/NNNNN.parquet (label, logit, probability, call of every image and finding; the folder reads as
    one table) and contributions/NNNNN.npz (ids, contributions; bias + their sum is the logit). Memory does not grow
    with the number of images. Stopped or killed, the same command goes on where it was. Several machines share the
    work by --shard 1/3, 2/3, 3/3 with the same --out.

    \b
    Examples:
      attrinet explain-store runs/nih_64 --workers 4
      attrinet explain-store runs/nih_64 --split valid --dtype float16 --shard 2/8 --out shared/explained
    """
    part = re.fullmatch(r"(\d+)/(\d+)", shard)
    if not part:
        raise AttrinetError(f"--shard {shard}: want i/n, as in 1/3")
    opened = open_run(run, device)
    if opened.explainer is None:
        raise AttrinetError(f"{run}: a {opened.model.name} has no explanation of its own; give a run of Attri-Net or "
                            "B-cos")
    files = engine_files(engine, opened)
    if precision == "bf16" and (files is not None or not isinstance(opened.model, AttriNet)):
        raise AttrinetError("--precision bf16: is for an Attri-Net in PyTorch (--engine none)")
    keep_freed_memory()
    folder = out or home(run) / f"explained-{split}"
    bulk = Bulk(run, opened.store(store).path, split, folder, dtype, str(opened.model.device), engine=files,
                precision=precision, compile=compiled)
    shards = explain_store(bulk, workers=workers, part=(int(part[1]), int(part[2])), progress=not quiet)
    made_by = f"PyTorch{' in bfloat16' * (precision == 'bf16')}" if files is None else (
        f"OpenVINO in {facts_of(files)['precision']} ({files})")
    if shards:
        click.echo(f"written: {folder} ({shards} shard{'s' if shards > 1 else ''}), maps by {made_by}")
    else:
        click.echo(f"nothing to do: {split} has fewer shards than --shard {shard} counts")


def engine_files(engine: str, run: Run) -> Path | None:
    """The folder that --engine stands for; None: PyTorch."""
    ours = isinstance(run.model, AttriNet) and run.model.device.type == "cpu"  # OpenVINO's engines are for CPUs
    if engine == "none" or (engine == "auto" and not ours):
        return None
    if not isinstance(run.model, AttriNet):
        raise AttrinetError(f"--engine: only for an Attri-Net; {run.path} holds a {run.model.name}")
    return own_engine(run.model, home(run.path) / "export") if engine == "auto" else Path(engine)
