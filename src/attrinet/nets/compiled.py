"""torch.compile where it pays: on a GPU, it fuses what lies between the convolutions."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial

import torch

PROGRAMS = 64  # shapes of one function that are compiled, before others run as they are


def as_it_is(function: Callable) -> Callable:
    return function


def compiler(device: torch.device) -> Callable[[Callable], Callable]:
    """What makes one program of a function's tensor operations, for every shape: torch.compile on a GPU where Triton is
    installed, else nothing."""
    if device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return as_it_is
    torch._dynamo.config.cache_size_limit = max(PROGRAMS, torch._dynamo.config.cache_size_limit)
    return partial(torch.compile, dynamic=False)
