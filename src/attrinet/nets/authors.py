"""Names of the authors' public code → names here, so that their checkpoints and the reference numbers load.

    theirs                                        ours
    fcs.mapping.{2i+1}.linear.weight_orig, .bias  task.mapping.layers.{i}.weight, .bias
    layer0 / down1 / down2 / up1 / up2            stem / down1 / down2 / up1 / up2
    bn_layer{i}.conv1, .style1 (conv2, style2)    blocks.{i}.first (second)
    layer0, layer{i+1} of the discriminator       stem, levels.{i}
    *.conv1.weight, *.transconv1.weight           *.conv.weight
    *.style1.transform.linear.weight_orig, .bias  *.norm.style.weight, .bias
    conv1.weight at the top                       last.weight
    linear.weight, .bias of a classifier          classifiers.{c}.weight, .bias
    centers (2, H·W) of a finding                 centers[c] (2, H, W)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from torch import Tensor

_RULES: list[tuple[str, str | Callable[[re.Match[str]], str]]] = [
    (r"^fcs\.mapping\.(\d+)\.linear\.", lambda m: f"task.mapping.layers.{int(m[1]) // 2}."),
    (r"^conv1\.", "last."),
    (r"^bn_layer(\d+)\.(conv|style)1\.", r"blocks.\1.first.\2."),
    (r"^bn_layer(\d+)\.(conv|style)2\.", r"blocks.\1.second.\2."),
    (r"^layer0\.", "stem."),
    (r"^layer(\d+)\.", lambda m: f"levels.{int(m[1]) - 1}."),
    (r"\.(?:trans)?conv1\.", ".conv."),
    (r"\.style1?\.transform\.linear\.", ".norm.style."),
    (r"weight_orig$", "weight"),
]


def rename(key: str) -> str:
    """One parameter name of the authors' generator or discriminator → ours."""
    for pattern, replacement in _RULES:
        key = re.sub(pattern, replacement, key)
    return key


def network_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of the authors' generator (net_g) or discriminator (net_d) → ours of Generator or Critic."""
    return {rename(key): value for key, value in state.items()}
