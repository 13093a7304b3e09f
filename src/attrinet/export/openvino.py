"""OpenVINO: model.xml and model.bin, made of the ONNX file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino
import torch

from attrinet.export.graph import OUTPUTS
from attrinet.export.verify import Runner

FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32"}
"""Processors with bfloat16 units would else use them, and miss the bounds."""


def write_openvino(onnx_file: Path, path: Path) -> None:
    """path: NAME.xml; NAME.bin, float32 weights, comes beside it."""
    openvino.save_model(openvino.Core().read_model(onnx_file), path, compress_to_fp16=False)


def openvino_runner(path: Path) -> Runner:
    """The files as OpenVINO runs them on the CPU, with as many threads as PyTorch has."""
    options = FLOAT32 | {"INFERENCE_NUM_THREADS": torch.get_num_threads()}
    compiled = openvino.Core().compile_model(path, "CPU", options)

    def run(images: np.ndarray) -> list[np.ndarray]:
        results = compiled(images)
        return [results[name] for name in OUTPUTS]

    return run
