"""Write a model in another runtime's format, compare it with PyTorch, and only then put it in place."""

from __future__ import annotations

import json
import os
import tempfile
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from attrinet.errors import AttrinetError
from attrinet.export import verify
from attrinet.export.verify import BATCHES, BOUNDS, PRECISIONS, Runner, differences, probe_images, require
from attrinet.files import checksum
from attrinet.nets.attrinet import AttriNet
from attrinet.nets.weights import weights_hash

FORMATS = {"onnx": ("onnx",), "openvino": ("bin", "xml")}  # format → endings of its files


def export(
    model: AttriNet, format: str, folder: Path, real: Tensor | None = None, *, precision: str = "float32",
    calibration: Tensor | None = None,
) -> dict:
    """Write model.onnx, or model.xml and model.bin, and model.json; returns what model.json says of the comparison.

    Two formats of one model can lie in one folder: model.json tells of the files of both, and of none of other weights.

    model: loaded by attrinet.load. real: radiographs (N, 1, H, W) to compare on. precision: float32 is compared with
    PyTorch on noise too, in batches of 1 and 3, within attrinet.export.verify.BOUNDS; OpenVINO's bfloat16, int8 and
    fastest (whichever of the three is, here) on radiographs, by the largest difference of a probability and the maps'
    signal-to-noise ratio. calibration: radiographs of the training split, which int8 takes its ranges from.
    Raises AttrinetError, with the figures and nothing written, where it differs by more; for a format or precision
    that is unknown, not installed or needs a store; a folder that cannot be written.
    """
    if format not in FORMATS:
        raise AttrinetError(f"--format {format}: choose one of {', '.join(FORMATS)}")
    if precision not in (*PRECISIONS, verify.FASTEST):
        raise AttrinetError(f"--precision {precision}: choose one of {', '.join((*PRECISIONS, verify.FASTEST))}")
    if precision != "float32" and (format != "openvino" or real is None or calibration is None):
        raise AttrinetError(f"--precision {precision}: only with --format openvino and the run's store, whose "
                            "radiographs the loss is measured on; add --store")
    try:
        from attrinet.export.onnx import onnx_runner, write_onnx
        if format == "openvino":
            from attrinet.export.openvino import openvino_runner, write_openvino
            from attrinet.export.precision import write_precision
    except ModuleNotFoundError as error:
        raise AttrinetError(f"--format {format} needs {error.name}, which is not installed: "
                            "pip install 'attrinet[export]'") from error
    facts = description(model)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".export-") as temporary:
            made = Path(temporary)
            write_onnx(model, made / "model.onnx", facts)
            if precision == "float32":
                if format == "openvino":
                    write_openvino(made / "model.onnx", made / "model.xml")
                run = openvino_runner(made / "model.xml") if format == "openvino" else onnx_runner(made / "model.onnx")
                said = verified(model, run, real, format)
            else:
                measured = write_precision(model, made / "model.onnx", made / "model.xml", precision, real, calibration)
                precision = next(iter(measured))
                said = {
                    "images": len(real), "of which real": len(real), "precisions": measured,
                    "bounds": {"probability": verify.LOSSY_PROBABILITY, "psnr": verify.LOSSY_PSNR},
                    "torch": torch.__version__,
                }
            files = {f"model.{ending}": checksum(made / f"model.{ending}") for ending in FORMATS[format]}
            formats = {**others(folder / "model.json", facts["weights"]),
                       format: {"precision": precision, "files": files}}
            facts |= {"precision": precision, "verified": said, "formats": formats}
            (made / "model.json").write_text(json.dumps(facts, indent=2) + "\n")
            for ending in (*FORMATS[format], "json"):
                os.replace(made / f"model.{ending}", folder / f"model.{ending}")
    except OSError as error:
        raise AttrinetError(f"{folder}: cannot be written ({error.strerror}); choose another with --out") from error
    return said


def others(path: Path, weights: str) -> dict:
    """Formats that an earlier export of the same weights left beside model.json; of other weights none counts."""
    try:
        before = json.loads(path.read_text())
        return before["formats"] if before["weights"] == weights else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def verified(model: AttriNet, run: Runner, real: Tensor | None, format: str) -> dict:
    """The comparison of a float32 runtime with PyTorch, for model.json; AttrinetError where it differs by too much."""
    images = probe_images(model.image_size, real)
    worst = differences(model, run, images)
    require(worst, f"{format} of this model")
    return {
        "images": len(images), "of which real": 0 if real is None else len(real), "batch sizes": BATCHES,
        "largest differences from PyTorch": worst, "bounds": BOUNDS, "torch": torch.__version__,
    }


def description(model: AttriNet) -> dict:
    """What a user of the graph must know: what goes in, what comes out, and when a finding is called."""
    size, count = model.image_size, len(model.findings)
    return {
        "findings": list(model.findings),
        "thresholds": dict(zip(model.findings, model.thresholds.tolist(), strict=True)),
        "preprocessing": {"size": size, **{k: v for k, v in model.reader.keywords.items() if k != "size"}},
        "input": {"images": f"float32 (batch, 1, {size}, {size}) in [-1, 1], 0 is mid grey"},
        "outputs": {
            "logits": f"float32 (batch, {count})",
            "probabilities": f"float32 (batch, {count}); called where at least the threshold",
            "attribution": f"float32 (batch, {count}, {size}, {size}): M(x), change of grey level",
            "contributions": f"float32 (batch, {count}, {size}, {size}), logits a pixel: bias + their sum is the logit",
        },
        "bias": dict(zip(model.findings, torch.cat([c.bias for c in model.classifiers]).tolist(), strict=True)),
        "attrinet": version("attrinet"),
        "weights": weights_hash(model),
    }
