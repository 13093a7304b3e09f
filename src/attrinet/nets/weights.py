"""Which model it was: a number that goes with everything made with it."""

from __future__ import annotations

import hashlib
from typing import cast

import torch
from torch import nn


def uncompiled(model: nn.Module) -> nn.Module:
    """The module that a compiled one was made of, whose names of weights it has; any other module is itself."""
    return cast(nn.Module, getattr(model, "_orig_mod", model))


def weights_hash(model: nn.Module) -> str:
    """16 hexadecimal digits that change with any weight but the critic's, whatever the device."""
    digest = hashlib.blake2b(digest_size=8)
    for name, values in sorted(uncompiled(model).state_dict().items()):
        if name.startswith("critic."):  # no part of a saved model
            continue
        digest.update(name.encode() + values.cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
