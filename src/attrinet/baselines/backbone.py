"""A classifier of MONAI's by name: DenseNet, ResNet, SE-ResNet, EfficientNet, with pretrained weights of a local file.

MONAI is a well-kept library of medical imaging whose networks take one channel and need no torchvision. It comes with
the extra attrinet[backbones].
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from attrinet.baselines.baseline import Baseline
from attrinet.errors import AttrinetError

WRAPPERS = ("state_dict", "model_state_dict", "model")  # keys under which training scripts save weights
PREFIXES = ("module.", "model.", "backbone.", "net.")  # of every key, from what a network was wrapped in


@dataclass(frozen=True)
class Family:
    """How MONAI names things. build(networks, findings): the network. gradcam: the layer that puts out its last
    features, activated, as they are pooled. head: the layer whose outputs are the findings. renames: torchvision's
    names → MONAI's, as regular expressions."""

    build: Callable[[Any, int], nn.Module]
    gradcam: str
    head: str
    renames: tuple[tuple[str, str], ...] = ()


def _named(class_name: str, channels: str, classes: str, **more: Any) -> Callable[[Any, int], nn.Module]:
    def build(networks: Any, findings: int) -> nn.Module:
        return getattr(networks, class_name)(spatial_dims=2, **{channels: 1, classes: findings}, **more)

    return build


def _efficientnet(name: str) -> Callable[[Any, int], nn.Module]:
    plain = _named("EfficientNetBN", "in_channels", "num_classes", model_name=name, pretrained=False)

    def build(networks: Any, findings: int) -> nn.Module:
        net = plain(networks, findings)
        net._avg_pooling = nn.Sequential(nn.Identity(), net._avg_pooling)  # its one activation is used twice: no layer
        return net                                                         # of its own puts out the last features

    return build


DENSENET = partial(Family, gradcam="class_layers.relu", head="class_layers.out", renames=(
    (r"(denselayer\d+)\.(norm|conv)\.?(\d)\.", r"\1.layers.\2\3."), (r"^classifier\.", "class_layers.out."),
))
RESNET = partial(Family, gradcam="layer4", head="fc")
SENET = partial(Family, gradcam="layer4", head="last_linear")
EFFICIENTNET = partial(Family, gradcam="_avg_pooling.0", head="_fc")
AS_TORCHVISION = {"conv1_t_stride": 2, "bias_downsample": False}  # MONAI's own defaults are for small volumes
BACKBONES: Mapping[str, Family] = {
    **{f"densenet{depth}": DENSENET(_named(f"DenseNet{depth}", "in_channels", "out_channels"))
       for depth in (121, 169, 201)},
    **{f"resnet{depth}": RESNET(_named(f"resnet{depth}", "n_input_channels", "num_classes", **AS_TORCHVISION))
       for depth in (18, 34, 50, 101)},
    **{f"seresnet{depth}": SENET(_named(f"SEResNet{depth}", "in_channels", "num_classes")) for depth in (50, 101)},
    **{name: EFFICIENTNET(_efficientnet(name)) for name in (f"efficientnet-b{k}" for k in range(5))},
}


class Backbone(Baseline):
    """The black-box classifier `backbone` names (BACKBONES), as MONAI builds it, untrained.

    findings: names, C of them. image_size: pixels a side. Raises AttrinetError for an unknown backbone too, and where
    MONAI is not installed.
    """

    kind = "backbone"
    SIZES = ("backbone",)

    def __init__(self, findings: Sequence[str], image_size: int = 320, *, backbone: str):
        super().__init__(findings, image_size)
        if backbone not in BACKBONES:
            near = difflib.get_close_matches(str(backbone), BACKBONES, 1, cutoff=0)
            raise AttrinetError(f"model.backbone={backbone!r}: did you mean {near[0]!r}? There are "
                                f"{', '.join(BACKBONES)}")
        try:
            from monai.networks import nets  # takes seconds to import, and not everybody has installed it
        except ModuleNotFoundError as error:
            raise AttrinetError(f"model.backbone={backbone} needs {error.name}: pip install 'attrinet[backbones]'"
                                ) from error
        self.backbone, self.name = backbone, f"MONAI {backbone}"
        self.family = BACKBONES[backbone]
        self.net = self.family.build(nets, len(self.findings))
        for module in self.net.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False  # post-hoc methods look at what goes in and comes out

    @property
    def gradcam_layer(self) -> nn.Module:
        return self.net.get_submodule(self.family.gradcam)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, H, W) in [-1, 1] → logits (B, C)"""
        return self.net(images)


# ---- pretrained weights


def load_pretrained(model: Backbone, path: str | Path) -> None:
    """Fill all layers but the head, which stays new, with the weights of a file: of MONAI, torchvision (densenet and
    resnet), or saved by this package.

    A first convolution of three channels is summed over them: grey images then give what they gave as RGB. Nothing in
    the file can run code. Raises AttrinetError naming the file and the first tensor that does not fit.
    """
    own, head = model.net.state_dict(), model.family.head + "."
    given = {name: values for name, values in _named_as_monai(_read(Path(path)), model.family).items()
             if not name.startswith(head)}
    wanted = {name for name in own if not name.startswith(head) and not name.endswith("num_batches_tracked")}
    strange = sorted((wanted - given.keys()) | (given.keys() - own.keys()))
    if strange:
        what = "is missing" if strange[0] in wanted else "is none of its tensors"
        raise AttrinetError(f"{path}: not the weights of a {model.backbone}: {strange[0]} {what}")
    for name, values in given.items():
        if values.ndim == 4 and own[name].shape[1] == 1 and values.shape[1] == 3:
            values = values.sum(1, keepdim=True)
        if values.shape != own[name].shape:
            raise AttrinetError(f"{path}: not the weights of a {model.backbone}: {name} has the shape "
                                f"{tuple(values.shape)}, not {tuple(own[name].shape)}")
        own[name] = values
    model.net.load_state_dict(own)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise AttrinetError(f"model.weights={path}: no such file") from error
    except Exception as error:  # readers raise whatever they like on damaged bytes
        raise AttrinetError(f"{path}: not a file of weights alone ({' '.join(str(error).split())[:150]}); save "
                            "model.state_dict() by torch.save or safetensors") from error
    while isinstance(state, dict) and (inner := next((key for key in WRAPPERS if key in state), None)):
        state = state[inner]
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise AttrinetError(f"{path}: holds no weights; save model.state_dict() by torch.save or safetensors")
    return state


def _named_as_monai(state: dict[str, Tensor], family: Family) -> dict[str, Tensor]:
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name[len(prefix):]: values for name, values in state.items()}
    for pattern, replacement in family.renames:
        state = {re.sub(pattern, replacement, name): values for name, values in state.items()}
    return state
