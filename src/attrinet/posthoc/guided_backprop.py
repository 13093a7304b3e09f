"""Guided Backpropagation (Springenberg et al., ICLR workshop 2015): the gradient along paths that only ever help."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import captum.attr
import torch
from torch import Tensor, nn

from attrinet.errors import AttrinetError
from attrinet.posthoc.classifier import ONE_AT_A_TIME, checked, device_of


@dataclass(frozen=True, eq=False)
class GuidedBackprop:
    """Gradient of the logit at the pixels, with negative gradients stopped at every ReLU (Captum). The paper's setting.

    Only ReLUs that are nn.ReLU modules can be reached, not calls of F.relu.
    """

    model: nn.Module
    name: ClassVar[str] = "Guided Backprop"
    cost: ClassVar[float] = 2.0
    device = property(device_of)

    @torch.inference_mode(False)
    def attribute(self, images: Tensor, finding: int) -> Tensor:
        """(B, 1, H, W) in [-1, 1], index or name of the finding → (B, H, W), logits a unit of grey.

        Raises AttrinetError for a model without nn.ReLU: its plain gradient would pass for a guided one.
        """
        images, finding = checked(self.model, images, finding)
        relus = [module for module in self.model.modules() if isinstance(module, nn.ReLU)]
        if not relus:
            raise AttrinetError(f"{type(self.model).__name__} has no nn.ReLU module, which Guided Backprop needs; "
                                "choose another method")
        with ONE_AT_A_TIME, _out_of_place(relus), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Setting backward hooks on ReLU")
            return captum.attr.GuidedBackprop(self.model).attribute(images.requires_grad_(), finding)[:, 0].detach()


@contextmanager
def _out_of_place(relus: Sequence[nn.ReLU]) -> Iterator[None]:
    """Backward hooks cannot hold on to what an in-place ReLU overwrites."""
    before = [relu.inplace for relu in relus]
    for relu in relus:
        relu.inplace = False
    try:
        yield
    finally:
        for relu, inplace in zip(relus, before, strict=True):
            relu.inplace = inplace
