"""Words drawn into pictures, in a typeface that has the letters of names in other languages than English."""

from __future__ import annotations

from matplotlib import font_manager
from PIL import ImageFont


def fitting(text: str, size: float, room: float) -> ImageFont.FreeTypeFont:
    """A font of `size` pixels, smaller where the text would be wider than `room` pixels."""
    face = font_manager.findfont("DejaVu Sans")  # comes with matplotlib
    font = ImageFont.truetype(face, size)
    wide = max(font.getlength(line) for line in text.split("\n"))
    return font if wide <= room else ImageFont.truetype(face, max(size * room / wide, 1))
