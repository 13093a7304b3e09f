"""Attri-Net as a plain differentiable classifier, for methods that explain a classifier from outside."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from attrinet.nets.attrinet import AttriNet


class AttriNetLogits(nn.Module):
    """(B, 1, H, W) in [-1, 1] → logits (B, C) with gradients.

    Methods that only ask for logits or their gradient by the image work on it. Guided Backprop and Grad-CAM do not, and
    say so: the rectifiers belong to a generator that draws a map, and it is drawn anew for every finding, so that there
    are no last feature maps that a finding could weigh.
    """

    def __init__(self, model: AttriNet):
        super().__init__()
        self.attrinet, self.findings = model, model.findings
        self.train(model.training)

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([self.logit(images, c) for c in range(len(self.findings))], 1)

    def logit(self, images: Tensor, finding: int) -> Tensor:
        """(B,) of one finding, for one pass of the generator; forward takes one a finding."""
        return self.attrinet.classify(self.attrinet.generator(images, finding)[0], finding)
