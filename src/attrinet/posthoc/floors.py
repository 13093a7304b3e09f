"""Two maps that know nothing: what a method must beat."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from attrinet.posthoc.classifier import checked, device_of


@dataclass(frozen=True, eq=False)
class Uniform:
    """The same evidence at every pixel."""

    model: nn.Module
    name: ClassVar[str] = "Uniform"
    cost: ClassVar[float] = 0.0
    device = property(device_of)

    def attribute(self, images: Tensor, finding: int) -> Tensor:
        """(B, 1, H, W) in [-1, 1], index or name of the finding → (B, H, W) of ones."""
        images, _ = checked(self.model, images, finding)
        return torch.ones_like(images[:, 0])


@dataclass(frozen=True, eq=False)
class Random:
    """Independent uniform noise at every pixel, a function of seed, image and finding, whatever the batch."""

    model: nn.Module
    seed: int = 0
    name: ClassVar[str] = "Random"
    cost: ClassVar[float] = 0.0
    device = property(device_of)

    def attribute(self, images: Tensor, finding: int) -> Tensor:
        """(B, 1, H, W) in [-1, 1], index or name of the finding → (B, H, W) in [0, 1)."""
        images, finding = checked(self.model, images, finding)
        maps = [
            np.random.default_rng([self.seed, finding, zlib.crc32(image.tobytes())]).random(image.shape, np.float32)
            for image in images[:, 0].cpu().numpy()
        ]
        return torch.from_numpy(np.stack(maps)).to(images.device)
