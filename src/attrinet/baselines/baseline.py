"""What every classifier that Attri-Net is compared with has, whatever its layers are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from attrinet.errors import AttrinetError
from attrinet.modes import evaluated
from attrinet.nets.inputs import finding_index, finding_names

SMALLEST = 32  # pixels a side


class Baseline(nn.Module):
    """Findings, thresholds and logits; subclasses bring the layers and a forward: (B, 1, H, W) in [-1, 1] → (B, C).

    kind: its name in configurations and model folders. SIZES: the attributes, named as options of model.*, that it is
    built with beyond findings and image size. Raises AttrinetError for repeated or missing names and for a size with no
    room.
    """

    kind: ClassVar[str]
    SIZES: ClassVar[tuple[str, ...]]
    name: str
    thresholds: Tensor
    thresholds_from: str = ""

    def __init__(self, findings: Sequence[str], image_size: int):
        super().__init__()
        if image_size < SMALLEST:
            raise AttrinetError(f"image_size={image_size}: must be {SMALLEST} or more")
        self.findings, self.image_size = finding_names(findings), image_size
        self.register_buffer("thresholds", torch.full((len(self.findings),), 0.5), persistent=False)
        self.reader: Callable[[str], Tensor] | None = None
        """Reads an image file the way the training images were prepared; set by attrinet.load."""

    def __getattr__(self, name: str) -> Tensor | nn.Module:
        if name in ("explain", "attribute"):
            raise AttributeError(f"{type(self).__name__} has no explanation of its own: a post-hoc method explains it, "
                                 "attrinet.posthoc.build.build('gradcam', model).attribute(images, finding)")
        return super().__getattr__(name)

    @property
    def sizes(self) -> dict[str, int | str]:
        """SIZES and their values."""
        return {name: getattr(self, name) for name in self.SIZES}

    @property
    def gradcam_layer(self) -> nn.Module:
        """The layer whose output Grad-CAM weighs."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        return self.thresholds.device

    def finding_index(self, finding: int | str) -> int:
        """Index of a finding given by name or index; AttrinetError names the nearest for an unknown name."""
        return finding_index(self.findings, finding)

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Images (B, 1, H, W) in [-1, 1] → logits (B, C), in evaluation mode whatever mode the model is in."""
        with evaluated(self):
            return self(images)
