"""8-bit integers where the work is: inputs and weights of the convolutions of the bottleneck and after it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from onnxruntime import quantization
from torch import Tensor

BATCH = 4
LEFT = ("stem", "down1", "last")  # reading grey levels and writing the map: little work, and most of the rounding
CONVOLUTIONS = ("Conv", "ConvTranspose")


class Batches(quantization.CalibrationDataReader):
    def __init__(self, images: Tensor):
        self.left: Iterator[np.ndarray] = iter([batch.numpy() for batch in images.cpu().split(BATCH)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self.left, None)
        return None if batch is None else {"images": batch}


def write_int8(float_file: Path, path: Path, images: Tensor) -> None:
    """An ONNX file that says where to round, of one in float32: weights by channel, activations by the range they
    have on `images` (N, 1, H, W), radiographs of the training split."""
    convolutions = [node for node in onnx.load(float_file).graph.node if node.op_type in CONVOLUTIONS]
    left = [node.name for node in convolutions if any(f"/{name}/" in node.name for name in LEFT)]
    with quiet():
        quantization.quantize_static(
            float_file, path, Batches(images), quant_format=quantization.QuantFormat.QDQ, per_channel=True,
            activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
            op_types_to_quantize=list(CONVOLUTIONS), nodes_to_exclude=left,
            extra_options={"OpTypesToExcludeOutputQuantization": list(CONVOLUTIONS)},
        )


@contextmanager
def quiet() -> Iterator[None]:
    """onnxruntime gives its advice on the root logger, which is the program's."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(max(before, logging.ERROR))
    try:
        yield
    finally:
        root.setLevel(before)
