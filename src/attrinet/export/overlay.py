"""A picture for a viewer that knows nothing of segmentations: the image under its evidence, with a caption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from attrinet.data.images import read_grey, to_uint8
from attrinet.data.lettering import fitting
from attrinet.export.geometry import on_source
from attrinet.report.figures import blend

SMALLEST, LARGEST = 512, 1024  # pixels of the longer side: room for the caption, and no more than an eye needs
LEGEND = "attrinet, for research. Red: evidence for, blue: against"


def background(path: Path, intensity: str) -> np.ndarray:
    """The file's whole image in its own shape, in the grey levels the model sees: (h, w) in [-1, 1]."""
    grey = to_uint8(read_grey(path), intensity)
    height, width = grey.shape
    scale = np.clip(max(height, width), SMALLEST, LARGEST) / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BILINEAR), np.float64) / 127.5 - 1


def overlay(image: np.ndarray, contributions: np.ndarray, half: float, caption: str, keep_aspect: bool) -> np.ndarray:
    """A background (h, w) under the contributions to one finding, with a caption below: uint8 (h', w, 3).

    contributions: (size, size), logits a pixel of the model; ± half of them is the full colour.
    """
    height, width = image.shape
    values = on_source(contributions[None], height, width, keep_aspect)[0]
    area = len(contributions) ** 2 / (max(height, width) ** 2 if keep_aspect else height * width)
    return with_caption(np.rint(blend(image, values / area, half) * 255).astype(np.uint8), caption)


def with_caption(picture: np.ndarray, caption: str) -> np.ndarray:
    """Two lines under a picture, smaller where they would not fit."""
    height, width = picture.shape[:2]
    size = max(width // 32, 6)
    out = Image.new("RGB", (width, height + 3 * size + size // 2))
    out.paste(Image.fromarray(picture), (0, 0))
    draw = ImageDraw.Draw(out)
    for line, (text, color) in enumerate([(caption, "white"), (LEGEND, "#b4b4b4")]):
        at = size // 2, height + size // 3 + line * size * 3 // 2
        draw.text(at, text, color, fitting(text, size, width - size))
    return np.asarray(out)
