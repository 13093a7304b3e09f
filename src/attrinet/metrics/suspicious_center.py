"""Is a class centre strongest where images repeat each other? Finds a shortcut without being told of one.

Anatomy moves from patient to patient; what was drawn, burnt in or laid on the same spot does not. So where positive
images of different patients agree in fine detail, and negative ones do not, something other than the patient tells the
label; where a positive class centre is strong there too, the model listens to it (§4.5 finds such places by eye).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter

from attrinet.metrics.confounder_sensitivity import strongest

ALARM = 0.2  # score from which a centre is reported; docs/results.md has the false alarms of clean runs
DETAIL = 0.02  # finer than this share of the side is detail
WINDOW = 0.05  # share of the side over which detail is compared
GREY = 1.0  # grey level of 255; below it, detail is noise of the file format


@dataclass(frozen=True)
class Suspicion:
    """score: how much more alike the positives' detail is than the negatives', at most, among the strongest pixels of
    the centre. 0: no more, about 1: all positives show the same; NaN with fewer than two images of a kind, and of a
    flat centre. row, column: that place, in pixels."""

    score: float
    row: int
    column: int

    @property
    def alarm(self) -> bool:
        return self.score >= ALARM


def suspicious_center(center: np.ndarray, positives: np.ndarray, negatives: np.ndarray, top: float = 0.1) -> Suspicion:
    """Look for repeated detail at the `top` share of the strongest pixels of a positive class centre.

    center: (H, W). positives, negatives: (N, H, W) grey levels 0 to 255 of images with and without the finding, one a
    patient. A tag on a share p of the positives at one place scores about p² · (its own likeness); one whose place
    changes from image to image is not found.
    """
    where = strongest(center, top)
    if min(len(positives), len(negatives)) < 2 or not where.any():
        return Suspicion(float("nan"), 0, 0)
    excess = np.where(where, likeness(positives) - likeness(negatives), -np.inf)
    row, column = np.unravel_index(excess.argmax(), excess.shape)
    return Suspicion(float(excess[row, column]), int(row), int(column))


def likeness(images: np.ndarray) -> np.ndarray:
    """(N, H, W) grey levels → (H, W): agreement of fine detail around a pixel, mean over pairs of images.

    Detail is scaled to unit energy around every pixel: 1 for images that are alike, 0 for unrelated ones.
    """
    images = images.astype(np.float32)
    side, count = images.shape[-1], len(images)
    window = max(3, round(WINDOW * side) | 1)
    blur = max(1.0, DETAIL * side)
    total, squares = np.zeros(images.shape[1:]), np.zeros(images.shape[1:])
    for image in images:
        detail = image - gaussian_filter(image, blur)
        # the filter's running sum can end just below 0 on a border without any detail
        detail /= np.sqrt(uniform_filter(detail**2, window).clip(min=0)) + GREY
        total += detail
        squares += detail**2
    return uniform_filter((total**2 - squares) / (count * (count - 1)), window)
