"""OpenVINO: model.xml and model.bin, made of the ONNX file."""

from __future__ import annotations

import threading
from functools import cache
from pathlib import Path

import numpy as np
import openvino
import torch
from torch import Tensor

from attrinet.export.graph import OUTPUTS
from attrinet.export.verify import PRECISIONS, Runner

COMPUTED_IN = {"float32": "f32", "bfloat16": "bf16", "int8": "bf16"}
"""Precision → of what is not said to be integers; a processor without bfloat16 takes float32."""


@cache
def core() -> openvino.Core:
    """One for the process, never freed: a Core gives its thread another stack for signals, and takes the memory back
    even where a later Core's stack still leads to it; the next signal, Ctrl-C too, would then end the process."""
    return openvino.Core()


def write_openvino(onnx_file: Path, path: Path) -> None:
    """path: NAME.xml; NAME.bin, float32 weights, comes beside it."""
    openvino.save_model(core().read_model(onnx_file), path, compress_to_fp16=False)


def precisions() -> tuple[str, ...]:
    """Those that this processor has; where it does not compute in bfloat16, OpenVINO would fall back to float32."""
    bfloat16 = "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return tuple(name for name in PRECISIONS if name != "bfloat16" or bfloat16)


def compiled(path: Path, precision: str) -> openvino.CompiledModel:
    """The files for the CPU, with as many threads as PyTorch has."""
    return core().compile_model(path, "CPU", {
        "INFERENCE_PRECISION_HINT": COMPUTED_IN[precision], "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    })


def openvino_runner(path: Path) -> Runner:
    """The files as OpenVINO runs them in float32."""
    model = compiled(path, "float32")

    def run(images: np.ndarray) -> list[np.ndarray]:
        results = model(images)
        return [results[name] for name in OUTPUTS]

    return run


class OpenVinoMaps:
    """images (B, 1, H, W) → maps (B, C, H, W), both float32 on the CPU; from any number of threads, each with a request
    of its own: in one that they share, one thread's answer is written over another's."""

    def __init__(self, path: Path, precision: str):
        self.path, self.precision = path, precision
        self.model, self.own = compiled(path, precision), threading.local()

    def __call__(self, images: Tensor) -> Tensor:
        if not hasattr(self.own, "request"):
            self.own.request = self.model.create_infer_request()
        return torch.from_numpy(self.own.request.infer(images.numpy())["attribution"].copy())

    def __deepcopy__(self, _: dict) -> OpenVinoMaps:
        return self

    def __reduce__(self) -> tuple:
        return OpenVinoMaps, (self.path.absolute(), self.precision)
