"""Reads a checkpoint folder of the authors' public code into our model (names: attrinet.nets.authors)."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from attrinet.errors import AttrinetError, said
from attrinet.nets.attrinet import AttriNet
from attrinet.nets.authors import network_state


def import_checkpoint(folder: str | Path, findings: Sequence[str], image_size: int, which: str = "best") -> AttriNet:
    """net_g, classifier_of_<finding> and, where present, net_d and center_of_<finding> → AttriNet.

    folder: the run's folder or its ckpt/. findings: in training order. which: "best" or "last". Width, pooling and
    critic depth are read off the weights. Files are read by torch's weights-only loader, which runs no code; missing
    centres become zeros. Raises AttrinetError naming the file that is missing or does not fit.
    """
    folder = Path(folder)
    folder = folder / "ckpt" if (folder / "ckpt").is_dir() else folder
    generator = network_state(_state(folder / f"net_g_{which}.pth"))
    classifiers = [_state(folder / f"classifier_of_{name}_{which}.pth") for name in findings]
    critic_file = folder / f"net_d_{which}.pth"
    critic = network_state(_state(critic_file)) if critic_file.exists() else None
    try:
        levels = sum(key.endswith(".conv.weight") and key.startswith("levels.") for key in critic) if critic else None
        cells = classifiers[0]["linear.weight"].shape[1]
        model = AttriNet(
            findings, image_size, width=generator["stem.conv.weight"].shape[0], pool=image_size // round(cells**0.5),
            critic_levels=levels, critic=critic is not None,
        )
        model.generator.load_state_dict(generator)
        if critic is not None:
            model.critic.load_state_dict(critic)
        for ours, theirs in zip(model.classifiers, classifiers, strict=True):
            ours.load_state_dict({key.removeprefix("linear."): value for key, value in theirs.items()})
        for c, name in enumerate(findings):
            path = folder / f"center_of_{name}_{which}.pth"
            with torch.no_grad():
                model.centers[c] = _state(path)["centers"].view_as(model.centers[c]) if path.exists() else 0
    except (AttrinetError, KeyError, RuntimeError) as error:
        raise AttrinetError(
            f"{folder}: the weights do not fit {len(findings)} findings at {image_size} pixels "
            f"({str(error).splitlines()[-1].strip()})"
        ) from error
    return model


def _state(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise AttrinetError(
            f"{path}: not found; is this the checkpoint folder, and are the finding names right?"
        ) from error
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, KeyError, ValueError) as error:
        raise AttrinetError(f"{path}: not a PyTorch state dict ({said(error)})") from error
    named = isinstance(state, dict) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items())
    if not named:
        raise AttrinetError(f"{path}: not a PyTorch state dict (it holds no tensors by name)")
    return state
