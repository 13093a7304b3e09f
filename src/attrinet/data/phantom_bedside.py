"""What a bedside film of a phantom looks like: the patient lies, arms and leads are in the picture, contrast is low.

Real wards image the very ill this way, so that how a film was taken tells how ill a patient is: a confounder that is
spread over the whole image, unlike the tags of attrinet.data.shortcut.
"""

from __future__ import annotations

import numpy as np

from attrinet.data.phantom_canvas import Canvas, smooth

HEALTHY = 0.1  # share of patients without a finding who are imaged in bed
CONTRAST, SCATTER = 0.85, 0.10  # without a grid


def bedside_film(c: Canvas, thickness: np.ndarray) -> np.ndarray:
    """Attenuation (size, size) of the same patient lying: shoulder blades over the lungs, arms along the trunk, ECG
    electrodes with their leads, scatter."""
    p = c.random(6)
    out = thickness.copy()
    off = np.abs(c.x - 0.5) / c.width
    arms = smooth((0.075 - np.abs(off - 0.50)) / 0.03) * smooth((c.y - 0.22) / 0.05)
    out = np.maximum(out, p.uniform(0.7, 1.0) * arms)
    for side in (-1, 1):
        out += 0.16 * c.band(0.5 + side * 0.33 * c.width, 0.18, 0.5 + side * 0.25 * c.width, 0.46, 0.026)
    for _ in range(3):
        x, y = 0.5 + p.choice([-1, 1]) * p.uniform(0.05, 0.30), p.uniform(0.25, 0.80)
        out += 0.45 * c.ellipse(x, y, 0.016, 0.016, 0.008)
        out += 0.22 * c.band(x, y, x + p.uniform(-0.2, 0.2), 1.05, 0.005)
    return CONTRAST * out + SCATTER


def draw_bedside(random: np.random.Generator, ill: bool, share: float) -> bool:
    """Whether a patient is imaged in bed: `share` of the ill, HEALTHY of the others; nobody where share is 0."""
    return bool(share > 0 and random.random() < (share if ill else HEALTHY))
