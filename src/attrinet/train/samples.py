"""Sample maps on the way: a PNG in which one sees early whether the maps make sense."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

SAMPLES = 6  # validation images drawn on the way


def save_samples(path: Path, images: Tensor, maps: Tensor) -> None:
    """One line an image: x, then the map of every finding (mid grey is 0, white and black ± the line's largest |map|).

    images: (B, 1, H, W) in [-1, 1]. maps: (B, C, H, W).
    """
    maps = maps.cpu()
    maps = maps / maps.abs().amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)
    lines = [np.hstack([image[0], *line]) for image, line in zip(images.numpy(), maps.numpy(), strict=True)]
    Image.fromarray(((np.vstack(lines) + 1) * 127.5).round().clip(0, 255).astype(np.uint8)).save(path)
