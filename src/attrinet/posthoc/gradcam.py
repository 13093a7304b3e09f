"""Grad-CAM (Selvaraju et al., ICCV 2017): the last feature maps, weighed by their mean gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import captum.attr
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attrinet.errors import AttrinetError
from attrinet.posthoc.classifier import ONE_AT_A_TIME, checked, device_of


@dataclass(frozen=True, eq=False)
class GradCam:
    """ReLU(Σ_k α_k A_k), α_k the mean gradient of the logit at feature map A_k (Captum), upsampled bilinearly.

    The feature maps are the output of `model.gradcam_layer`, the last convolutional stage with its ReLU, as the
    method's authors advise. as_published: those of the last convolution in it, or in the model where it has none,
    before batch norm, residual and ReLU, upsampled to the nearest neighbour, as the Attri-Net paper's code does.
    """

    model: nn.Module
    as_published: bool = False
    name: ClassVar[str] = "Grad-CAM"
    cost: ClassVar[float] = 2.0
    device = property(device_of)

    @torch.inference_mode(False)
    def attribute(self, images: Tensor, finding: int) -> Tensor:
        """(B, 1, H, W) in [-1, 1], index or name of the finding → (B, H, W), not negative.

        Raises AttrinetError for a model that does not name its gradcam_layer, or never calls the published one.
        """
        images, finding = checked(self.model, images, finding)
        layer = getattr(self.model, "gradcam_layer", None)
        if layer is None:
            raise AttrinetError(f"{type(self.model).__name__} has no gradcam_layer: give it a property that "
                                "returns the module whose activations Grad-CAM shall use")
        if self.as_published:
            layer = (convolutions(layer) or convolutions(self.model))[-1]
        try:
            with ONE_AT_A_TIME:
                cam = captum.attr.LayerGradCam(self.model, layer).attribute(images, finding).detach().relu()
        except AssertionError as error:  # Captum heard nothing of the layer; B-cos takes but the weights of its own
            raise AttrinetError(f"{type(self.model).__name__} never calls its last convolution, which the published "
                                "Grad-CAM weighs; leave --as-published out") from error
        if self.as_published:
            return F.interpolate(cam, images.shape[2:], mode="nearest")[:, 0]
        return F.interpolate(cam, images.shape[2:], mode="bilinear", align_corners=False)[:, 0]


def convolutions(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, nn.Conv2d)]
