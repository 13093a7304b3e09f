"""torch.compile where it pays: on a GPU. It fuses what lies between the convolutions."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from attrinet.nets.winograd import AS_PRODUCT

PROGRAMS = 64  # shapes of one function that are compiled, before others run as they are
CAPABILITY = (7, 0)  # the least that Triton makes programs for
INFERENCE = {
    "force_layout_optimization": True,  # channels last, also where a convolution has one channel
    "triton.cudagraphs": True,  # replayed by the GPU alone: a CPU launches kernels slower than they run
}


def compiles(device: torch.device) -> bool:
    """Whether Triton is there, and what it needs: a GPU that is not too old for it, and a C compiler."""
    return (device.type == "cuda" and importlib.util.find_spec("triton") is not None
            and torch.cuda.get_device_capability(device) >= CAPABILITY and c_compiler() is not None)


def c_compiler() -> str | None:
    """The one that Triton would call: CC, or else gcc or clang."""
    named = os.environ.get("CC")
    return shutil.which(named) if named else shutil.which("gcc") or shutil.which("clang")


def compiler() -> Callable[[Callable], Callable]:
    """torch.compile for training, a program for every shape. Without what INFERENCE sets: with it, on an H200 under
    PyTorch 2.11, critics came to NaN within some steps."""
    make_room()
    return partial(torch.compile, dynamic=False)


def compile_in_place(module: nn.Module, *, inference: bool) -> None:
    """Every later call of the module is compiled; its weights and their names stay. inference: for calls without
    gradients; what one returns lasts until the next (see kept), and one thread makes them all."""
    if inference:
        for conv in module.modules():
            if isinstance(conv, nn.Conv2d) and 1 in (conv.in_channels, conv.out_channels):
                setattr(conv, AS_PRODUCT, True)
    make_room()
    module.compile(dynamic=False, options=INFERENCE if inference else None)


def make_room() -> None:
    """For PROGRAMS of each function."""
    torch._dynamo.config.cache_size_limit = max(PROGRAMS, torch._dynamo.config.cache_size_limit)


def kept(made: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """What a module returned, which may be compiled, to last beyond its next call."""
    return tuple(map(torch.clone, made)) if made[0].device.type == "cuda" else made
