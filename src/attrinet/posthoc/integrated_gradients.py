"""Integrated Gradients (Sundararajan et al., ICML 2017): gradients along the way from black to the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import captum.attr
import torch
from torch import Tensor, nn

from attrinet.posthoc.classifier import checked, device_of, logit

BLACK = -1.0  # the baseline its authors advise for images; on a radiograph, air


@dataclass(frozen=True, eq=False)
class IntegratedGradients:
    """(x − black) · ∫ ∂logit/∂x along the straight line from black, by Gauss-Legendre quadrature (Captum).

    Sums to logit(x) − logit(black) up to the error of the quadrature; benchmarks/posthoc_stability.py prints it by the
    number of steps. Not part of the Attri-Net paper's bench.
    """

    model: nn.Module
    steps: int = 128
    batch_size: int = 16
    name: ClassVar[str] = "Integrated Gradients"
    device = property(device_of)

    @property
    def cost(self) -> float:
        return 2.0 * self.steps

    @torch.inference_mode(False)
    def attribute(self, images: Tensor, finding: int) -> Tensor:
        """(B, 1, H, W) in [-1, 1], index or name of the finding → (B, H, W), logits a pixel."""
        images, finding = checked(self.model, images, finding)
        method = captum.attr.IntegratedGradients(lambda batch: logit(self.model, batch, finding))
        return torch.cat([  # one image at a time: its steps fill the batch
            method.attribute(
                image, BLACK, n_steps=self.steps, internal_batch_size=min(self.batch_size, self.steps)
            )[:, 0].detach()
            for image in images.split(1)
        ])
