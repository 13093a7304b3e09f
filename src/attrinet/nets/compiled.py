"""torch.compile where it pays: on a GPU. It fuses what lies between the convolutions."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial, reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

AS_PRODUCT = "as_product"  # attribute of a convolution that winograd.convolve makes of other words
PROGRAMS = 64  # shapes of one function that are compiled, before others run as they are
INFERENCE = {
    "force_layout_optimization": True,  # channels last, also where a convolution has one channel
    "triton.cudagraphs": True,  # replayed by the GPU alone: a CPU launches kernels slower than they run
}


def compiles(device: torch.device) -> bool:
    return device.type == "cuda" and importlib.util.find_spec("triton") is not None


def compiler() -> Callable[[Callable], Callable]:
    """torch.compile for training, a program for every shape. Without what INFERENCE sets: with it, on an H200 under
    PyTorch 2.11, critics came to NaN within some steps."""
    torch._dynamo.config.cache_size_limit = max(PROGRAMS, torch._dynamo.config.cache_size_limit)
    return partial(torch.compile, dynamic=False)


def compile_in_place(module: nn.Module, *, inference: bool) -> None:
    """Every later call of the module is compiled; its weights and their names stay. inference: for calls without
    gradients; what one returns lasts until the next (see kept), and one thread makes them all."""
    if inference:
        for conv in module.modules():
            if isinstance(conv, nn.Conv2d) and 1 in (conv.in_channels, conv.out_channels):
                setattr(conv, AS_PRODUCT, True)
    torch._dynamo.config.cache_size_limit = max(PROGRAMS, torch._dynamo.config.cache_size_limit)
    module.compile(dynamic=False, options=INFERENCE if inference else None)


def kept(made: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """What a module returned, which may be compiled, to last beyond its next call."""
    return tuple(map(torch.clone, made)) if made[0].device.type == "cuda" else made


# ---- convolutions from or to one channel: cuDNN computes 8 or 32 where one is wanted


def from_one_channel(x: Tensor, weight: Tensor, padding: int) -> Tensor:
    """F.conv2d(x, weight, padding=padding): (B, 1, H, W), (C, 1, k, k) → (B, C, H', W')"""
    side = weight.shape[2]
    high, wide = (extent + 2 * padding - side + 1 for extent in x.shape[2:])
    return (weight.flatten(1) @ F.unfold(x, side, padding=padding)).view(len(x), len(weight), high, wide)


def into_one_channel(x: Tensor, weight: Tensor, padding: int) -> Tensor:
    """F.conv2d(x, weight[None], padding=padding): (B, C, H, W), (C, k, k) → float32 (B, 1, H', W').

    A product, then k² shifted sums, which the compiler makes one program of.
    """
    side, (batch, _, high, wide) = weight.shape[1], x.shape
    taps = (weight.flatten(1).T @ x.flatten(2)).view(batch, side, side, high, wide)
    taps = F.pad(taps, (padding,) * 4)
    high, wide = (extent + 2 * padding - side + 1 for extent in (high, wide))
    shifted = (taps[:, i, j, i : i + high, j : j + wide].float() for i in range(side) for j in range(side))
    return reduce(torch.add, shifted)[:, None]
