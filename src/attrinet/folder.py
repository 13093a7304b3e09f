"""Model folders: config.json + model.safetensors + thresholds.json, nothing that could run code."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from attrinet.baselines import BASELINES
from attrinet.baselines.baseline import Baseline
from attrinet.data.images import INTENSITIES, read_image
from attrinet.errors import AttrinetError, said
from attrinet.files import checksum, readable
from attrinet.nets.attrinet import AttriNet

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
    folder, model = Path(folder), getattr(model, "_orig_mod", model)  # of a compiled model the one it was made of
    if set(thresholds) != set(model.findings) or not all(0 <= t <= 1 for t in thresholds.values()):
        raise AttrinetError(f"{folder}: thresholds {thresholds}: want a probability, 0 to 1, of each of "
                            f"{', '.join(model.findings)}")
    if set(preprocessing) != {"intensity", "keep_aspect"} or preprocessing["intensity"] not in INTENSITIES:
        raise AttrinetError(f"{folder}: preprocessing {preprocessing}: want intensity, one of "
                            f"{', '.join(INTENSITIES)}, and keep_aspect")
    folder.mkdir(parents=True, exist_ok=True)
    weights = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items() if not k.startswith("critic.")}
    save_file(weights, folder / "model.safetensors")
    readable(folder / "model.safetensors")
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
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "thresholds.json").write_text(json.dumps(thresholds, indent=2) + "\n")


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
    Raises AttrinetError naming the file that is missing or damaged.
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
        model.thresholds.copy_(torch.tensor([float(thresholds[name]) for name in model.findings]))
        # an earlier version's config.json does not say it, but its training left a file
        trained = ON_VALIDATION if (folder / "training.json").exists() else "not recorded"
        model.thresholds_from = str(config.get("thresholds_from", trained))
        preprocessing = config["preprocessing"]
        model.reader = partial(read_image, size=model.image_size, **preprocessing)
    except UNUSABLE as error:
        raise AttrinetError(f"{folder}: not a usable model folder ({type(error).__name__}: "
                            f"{said(error)})") from error
    return model.to(device).eval()


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
