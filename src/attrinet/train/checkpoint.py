"""Run folders on disk: checkpoints and the best model, written so that a kill at any moment leaves a good one."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from attrinet.errors import AttrinetError, said
from attrinet.files import cannot_write, write_atomically
from attrinet.train.state import TrainState

KEEP = 2  # checkpoints kept: the newest, and the one before
RESUME = "make room or fix the folder, then go on with --resume"


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Turn a write that failed anywhere below `folder` into AttrinetError naming it."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise cannot_write(folder, error, RESUME) from error


def save_checkpoint(folder: Path, state: TrainState) -> Path:
    """Write checkpoints/step-XXXXXXXX.safetensors and drop all but the newest two."""
    path = folder / f"step-{state.step:08d}.safetensors"
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors().items()}
    progress = state.progress()
    # one entry: safetensors writes several in an order of its own, and equal runs should leave equal files
    text = json.dumps(progress | {"digest": digest(tensors, progress)})
    write_atomically(path, lambda p: save_file(tensors, p, {"progress": text}), RESUME)
    for old in checkpoints(folder)[:-KEEP]:
        old.unlink()
    return path


def digest(tensors: dict[str, Tensor], progress: dict) -> str:
    """BLAKE2b of all that a checkpoint holds: safetensors itself would not notice a flipped bit in a weight."""
    out = hashlib.blake2b(json.dumps(progress).encode(), digest_size=16)
    for name in sorted(tensors):
        out.update(name.encode())
        out.update(tensors[name].reshape(-1).view(torch.uint8).numpy())
    return out.hexdigest()


def checkpoints(folder: Path) -> list[Path]:
    """Checkpoint files, oldest first."""
    return sorted(p for p in folder.glob("step-*.safetensors") if re.fullmatch(r"step-\d{8,}\.safetensors", p.name))


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict]:
    """Tensors and progress, as TrainState gave them. Raises AttrinetError if the file is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            progress = json.loads((file.metadata() or {})["progress"])
        written = progress.pop("digest", None)  # a checkpoint of an earlier version has none
        if written not in (None, digest(tensors, progress)):
            raise ValueError("its bytes are not those that were written")
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise AttrinetError(f"{path}: a damaged checkpoint ({said(error)[:200]}); delete it to resume from the one "
                            "before") from error
    return tensors, progress


def restore(path: Path, state: TrainState, tensors: dict[str, Tensor], progress: dict) -> None:
    """Put what was read from `path` into `state`. Raises AttrinetError where it is of another network."""
    try:
        state.restore(tensors, progress)
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise AttrinetError(f"{path}: a checkpoint of another network or version "
                            f"({' '.join(str(error).split())[:200]}); resume with the options, store and version that "
                            "it was made with") from error


def replace_folder(new: Path, target: Path) -> None:
    """Put the finished folder `new` where `target` is. A kill in between leaves `target` or `target`.old."""
    old = target.with_name(target.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.replace(target, old)
    os.replace(new, target)
    shutil.rmtree(old, ignore_errors=True)


def repair_folder(target: Path) -> None:
    """Undo a replace_folder that was killed half-way."""
    old = target.with_name(target.name + ".old")
    if old.exists() and not target.exists():
        os.replace(old, target)
