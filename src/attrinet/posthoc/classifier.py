"""What every post-hoc method needs of the classifier it explains: checked input, and logits of many images."""

from __future__ import annotations

import threading

import torch
from torch import Tensor, nn

from attrinet.errors import AttrinetError
from attrinet.nets.inputs import TOLERANCE, finding_index
from attrinet.posthoc.attrinet_logits import AttriNetLogits

ONE_AT_A_TIME = threading.Lock()
"""For methods that hang hooks on the classifier, which would hear the passes of other threads too."""


def device_of(explainer) -> torch.device:
    """Where the classifier of an explainer lives; images are moved there."""
    return next((p.device for p in explainer.model.parameters()), torch.device("cpu"))


def checked(model: nn.Module, images: Tensor, finding: int | str) -> tuple[Tensor, int]:
    """Images as float32 (B, 1, H, W) on the model's device, cut from any graph; the finding as an index.

    model: its forward takes such images to differentiable logits (B, C); it has `findings`. Raises AttrinetError for
    a model that is in training mode or has no forward, for images of another shape or outside [-1, 1], and for an
    unknown finding.
    """
    if type(model).forward is nn.Module.forward:
        raise AttrinetError(f"{type(model).__name__} has no forward that returns logits: a post-hoc method explains "
                            "a baseline classifier; Attri-Net explains itself by attribute()")
    if model.training:
        raise AttrinetError(f"{type(model).__name__} is in training mode, where its answer depends on the batch; "
                            "call model.eval() before it is explained")
    if images.ndim != 4 or images.shape[1] != 1:
        raise AttrinetError(f"images of shape {tuple(images.shape)}: want (B, 1, H, W)")
    if not len(images):
        raise AttrinetError("no images: the batch is empty")
    low, high = images.min().item(), images.max().item()
    if not (low >= -1 - TOLERANCE and high <= 1 + TOLERANCE):  # also NaN
        raise AttrinetError(f"image values from {low:.4g} to {high:.4g}: images are in [-1, 1], 0 is mid grey")
    device = next((p.device for p in model.parameters()), images.device)
    if images.is_inference():  # its values could not be differentiated by
        images = images.clone()
    return images.detach().to(device, torch.float32), int(finding_index(model.findings, finding))


def logit(model: nn.Module, images: Tensor, finding: int) -> Tensor:
    """(B, 1, H, W) → (B,) of one finding, with gradients. Attri-Net draws no other finding's map for it."""
    return model.logit(images, finding) if isinstance(model, AttriNetLogits) else model(images)[:, finding]


def passes(model: nn.Module) -> int:
    """Passes of the network that the logits of all findings take."""
    return len(model.findings) if isinstance(model, AttriNetLogits) else 1


@torch.no_grad()
def logits(model: nn.Module, images: Tensor, batch_size: int) -> Tensor:
    """(N, 1, H, W) → (N, C), batch_size images at a time."""
    return torch.cat([model(chunk) for chunk in images.split(batch_size)])
