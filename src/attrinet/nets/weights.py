"""Which model it was: a number that goes with everything made with it."""

from __future__ import annotations

import hashlib

from torch import nn


def weights_hash(model: nn.Module) -> str:
    """16 hexadecimal digits that change with any weight but the critic's, whatever the device."""
    digest = hashlib.blake2b(digest_size=8)
    for name, values in sorted(model.state_dict().items()):
        if name.startswith("critic."):  # no part of a saved model
            continue
        digest.update(name.encode() + values.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
