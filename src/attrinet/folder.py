"""Model folders: config.json + model.safetensors + thresholds.json, nothing that could run code."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from attrinet.baselines import BASELINES
from attrinet.baselines.baseline import Baseline
from attrinet.data.images import INTENSITIES, read_image
from attrinet.errors import AttrinetError, said
from attrinet.files import checksum, write_atomically, write_json
from attrinet.nets.attrinet import AttriNet
from attrinet.nets.weights import uncompiled

FORMAT = 2  # 1: before Attri-Net had an output other than tanh
ON_VALIDATION = "validation"
# what absurd or damaged contents of a model folder raise on their way into a network
UNUSABLE = (KeyError, TypeError, ValueError, ArithmeticError, MemoryError, RuntimeError, OSError, SafetensorError)


def save_model(
    model: AttriNet | Baseline, folder: str | Path, *, thresholds: dict[str, float], preprocessing: dict,
    thresholds_from: str = "",
) -> None:
    """Write what predicts and explains (not the critic) to a new or existing folder.

    thresholds: finding → probability. preprocessing: intensity and keep_aspect, as given to `prepare`. thresholds_from:
    ON_VALIDATION where they were chosen by Youden's index on validation images, as reports and cards then say. Raises
    AttrinetError, before anything is written, for thresholds or preprocessing that `load` could not use.
    """
    folder, model = Path(folder), uncompiled(model)
    check_thresholds(folder, thresholds, model.findings)
    check_preprocessing(folder, preprocessing)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items() if not k.startswith("critic.")}

    def write(part: Path) -> None:
        save_file(weights, part)
        (folder / "config.json").unlink(missing_ok=True)  # written last: until then there is no model, not a mixed one

    write_atomically(folder / "model.safetensors", write)
    write_json(folder / "thresholds.json", {name: float(value) for name, value in thresholds.items()})
    config = {
        "format": FORMAT,
        "model": model.kind if isinstance(model, Baseline) else "attrinet",
        "findings": list(model.findings),
        "image_size": model.image_size,
        **shape(model),
        "preprocessing": preprocessing,
        "thresholds_from": thresholds_from,
        "weights": checksum(folder / "model.safetensors"),
    }
    write_json(folder / "config.json", config)


def check_thresholds(where: Path, thresholds: Mapping, findings: Sequence[str]) -> None:
    """Raise AttrinetError unless there is a probability, no percentage say, of every finding."""
    wrong = [f"{name}={t}" for name, t in thresholds.items()
             if not isinstance(t, (float, int, np.number)) or isinstance(t, bool) or not 0 <= t <= 1]
    if wrong or set(thresholds) != set(findings):
        given = wrong[0] if wrong else ", ".join(map(str, thresholds))
        raise AttrinetError(f"{where}: thresholds {given[:80]}: want a probability, 0 to 1, of each of "
                            f"{', '.join(map(str, findings))}")


def check_preprocessing(where: Path, preprocessing: object) -> None:
    """Raise AttrinetError for what read_image could not take, or would take for something else."""
    whole = isinstance(preprocessing, Mapping) and set(preprocessing) == {"intensity", "keep_aspect"}
    if not (whole and preprocessing["intensity"] in INTENSITIES and isinstance(preprocessing["keep_aspect"], bool)):
        raise AttrinetError(f"{where}: preprocessing {str(preprocessing)[:80]}: want intensity, one of "
                            f"{', '.join(INTENSITIES)}, and keep_aspect, true or false")


def shape(model: AttriNet | Baseline) -> dict:
    """What a kind of model is built with beyond findings and image size."""
    if isinstance(model, Baseline):
        return model.sizes
    return {"width": model.width, "pool": model.geometry.pool, "critic_levels": model.geometry.critic_levels,
            "output": model.generator.output}


def load(folder: str | Path, device: str | torch.device = "cpu") -> AttriNet | Baseline:
    """The model of a folder that training or save_model wrote, in evaluation mode: an Attri-Net without its critic, or
    a baseline, whichever config.json names.

    A run folder stands for its best/ folder. The model reads image files as its training images were prepared.
    Raises AttrinetError naming the file that is missing or damaged, or a device that cannot be used.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file() and (folder / "best" / "config.json").is_file():
        folder = folder / "best"
    config, thresholds = {"output": "tanh"} | _json(folder / "config.json"), _json(folder / "thresholds.json")
    try:
        builders = {"attrinet": partial(AttriNet, critic=False), **BASELINES}
        kind = config["model"]
        if config["format"] not in (1, FORMAT) or kind not in builders:
            raise AttrinetError(f"{folder / 'config.json'}: format {config['format']} of model {kind!r} is not one "
                                f"this version reads (format {FORMAT}, {', '.join(builders)}); update attrinet")
        sizes = ("width", "pool", "critic_levels", "output") if kind == "attrinet" else BASELINES[kind].SIZES
        try:
            model = builders[kind](config["findings"], config["image_size"], **{name: config[name] for name in sizes})
        except AttrinetError as error:
            raise AttrinetError(f"{folder / 'config.json'}: {error}") from error
        weights = folder / "model.safetensors"
        if config.get("weights") not in (None, checksum(weights)):  # None: of an earlier version
            raise AttrinetError(f"{weights}: damaged (its checksum is not the one in config.json); copy it again")
        model.load_state_dict(load_file(weights))
        check_thresholds(folder / "thresholds.json", thresholds, model.findings)
        model.thresholds.copy_(torch.tensor([float(thresholds[name]) for name in model.findings]))
        # an earlier version's config.json does not say it, but its training left a file
        trained = ON_VALIDATION if (folder / "training.json").exists() else "not recorded"
        model.thresholds_from = str(config.get("thresholds_from", trained))
        preprocessing = config["preprocessing"]
        check_preprocessing(folder / "config.json", preprocessing)
        model.reader = partial(read_image, size=model.image_size, **preprocessing)
    except UNUSABLE as error:
        raise AttrinetError(f"{folder}: not a usable model folder ({type(error).__name__}: "
                            f"{said(error)})") from error
    return model.to(usable_device(device)).eval()


def usable_device(device: str | torch.device) -> torch.device:
    """What a name means; auto: CUDA if there is any. Raises AttrinetError where it cannot be used."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        where = torch.device(device)
        torch.empty(0, device=where)
    except (RuntimeError, AssertionError) as error:
        raise AttrinetError(f"device {device}: not usable here ({said(error)})") from error
    return where


def _json(path: Path) -> dict:
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise AttrinetError(f"{path}: not found; give a run folder or a model folder (runs/demo/best)") from error
    except (OSError, ValueError) as error:
        raise AttrinetError(f"{path}: damaged ({error})") from error
    if not isinstance(value, dict):
        raise AttrinetError(f"{path}: damaged (not a JSON object)")
    return value
