"""ONNX: one file that any runtime reads, for any batch size."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from attrinet.export.graph import OUTPUTS, Graph
from attrinet.export.verify import Runner
from attrinet.nets.attrinet import AttriNet

OPSET = 18


def write_onnx(model: AttriNet, path: Path, facts: dict) -> None:
    """facts: stored with the graph (metadata_props), each value as JSON.

    Traced, not captured by torch.export: that way takes fifteen times as long and writes paths of this machine into
    every node. The test of the numbers is in attrinet.export.verify.
    """
    graph = Graph(model).eval()
    example = torch.zeros(2, 1, model.image_size, model.image_size)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # instance norm has no running statistics, which the exporter finds odd
        torch.onnx.export(
            graph, (example,), buffer, input_names=["images"], output_names=list(OUTPUTS), opset_version=OPSET,
            dynamic_axes={name: {0: "batch"} for name in ("images", *OUTPUTS)}, dynamo=False,
        )
    proto = onnx.load_from_string(buffer.getvalue())
    for name, value in facts.items():
        proto.metadata_props.add(key=name, value=json.dumps(value))
    onnx.checker.check_model(proto)
    onnx.save(proto, path)


def onnx_runner(path: Path) -> Runner:
    """The file as onnxruntime runs it on the CPU, with as many threads as PyTorch has."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(images: np.ndarray) -> list[np.ndarray]:
        return session.run(list(OUTPUTS), {"images": images})

    return run
