"""Which precision is fast here, and what it costs: measured, on radiographs, before it is used."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from attrinet.errors import AttrinetError
from attrinet.export.openvino import OpenVinoMaps, precisions, write_openvino
from attrinet.export.verify import FASTEST, LOSSY_PROBABILITY, LOSSY_PSNR, losses
from attrinet.nets.attrinet import AttriNet

REPEATS = 5


def write_precision(
    model: AttriNet, onnx_file: Path, path: Path, precision: str, judged: Tensor, calibration: Tensor
) -> dict:
    """Write path (NAME.xml, NAME.bin) in the precision asked for, or in the one that is fastest here and loses no more
    than attrinet.export.verify allows; returns what was measured of each, chosen first.

    judged, calibration: radiographs (N, 1, H, W) that the loss is measured on, and int8's ranges are taken from.
    Raises AttrinetError, with the figures, where the precision loses more or this processor has none such.
    """
    names = precisions()
    if precision != FASTEST:
        if precision not in names:
            raise AttrinetError(f"--precision {precision}: this processor does not compute in it; choose float32, int8 "
                                "or fastest")
        names = (precision,)
    engines = {}
    for name in names:
        write_as(onnx_file, path.with_stem(name), name, calibration)
        engines[name] = OpenVinoMaps(path.with_stem(name), name)
    lost = losses(model, engines, judged)
    measured = {name: {"seconds an image": seconds(engine, judged[:1]), **asdict(lost[name]),
                       "allowed": lost[name].allowed} for name, engine in engines.items()}
    kept = [name for name in names if lost[name].allowed]
    if not kept:  # float32 loses nothing, so one was asked for
        raise AttrinetError(f"{precision} loses too much on this model: {lost[precision]} (bounds {LOSSY_PROBABILITY}, "
                            f"{LOSSY_PSNR:.0f} dB); nothing was written")
    best = min(kept, key=lambda name: measured[name]["seconds an image"])
    for ending in (".xml", ".bin"):
        path.with_stem(best).with_suffix(ending).replace(path.with_suffix(ending))
    return {best: measured.pop(best)} | measured


def write_as(onnx_file: Path, path: Path, precision: str, calibration: Tensor) -> None:
    if precision == "int8":
        from attrinet.export.int8 import write_int8

        rounded = onnx_file.with_stem("int8")
        write_int8(onnx_file, rounded, calibration)
        onnx_file = rounded
    write_openvino(onnx_file, path)


def seconds(engine, images: Tensor) -> float:
    """Median of an image's real time; the first call warms up."""
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        engine(images)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:]) / len(images)
