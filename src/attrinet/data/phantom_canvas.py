"""The drawing board of phantoms: coordinates, a patient's own random numbers, a few primitives.

Everything is a function of (seed, index); the size only samples it.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

NOISE_GRID = 64  # side of the grids that texture is drawn on, whatever the image size


class Canvas:
    """Coordinates, the patient's own random numbers, and a few drawing primitives (all (size, size) float32)."""

    def __init__(self, seed: int, index: int, size: int):
        self.seed, self.index, self.size = seed, index, size
        p = self.random(1)
        centers = (np.arange(size, dtype=np.float32) + 0.5) / size
        x, y = np.meshgrid(centers, centers)
        # pose: shift, turn, scale; anatomy below is written for an upright, centred patient
        angle, scale = p.normal(0, 0.035), p.uniform(0.92, 1.10)
        dx, dy = p.normal(0, 0.018), p.normal(0.0, 0.022)
        u, v = (x - 0.5 - dx) / scale, (y - 0.5 - dy) / scale
        self.x = (np.cos(angle) * u + np.sin(angle) * v + 0.5).astype(np.float32)
        self.y = (-np.sin(angle) * u + np.cos(angle) * v + 0.5).astype(np.float32)
        self.film = (x, y)
        self.width, self.height = p.uniform(0.92, 1.08), p.uniform(0.90, 1.08)  # of the thorax
        self.heart = p.normal(1.0, 0.055)  # normal variation of the heart's width

    def random(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.index, purpose])

    def ellipse(self, cx: float, cy: float, rx: float, ry: float, edge: float = 0.02) -> np.ndarray:
        """1 inside, 0 outside, a smooth border `edge` wide."""
        r = np.sqrt(((self.x - cx) / rx) ** 2 + ((self.y - cy) / ry) ** 2)
        return smooth((1 - r) * min(rx, ry) / edge)

    def band(self, x0: float, y0: float, x1: float, y1: float, radius: float) -> np.ndarray:
        """Soft line from one point to another: Gaussian profile of this radius."""
        dx, dy = x1 - x0, y1 - y0
        t = np.clip(((self.x - x0) * dx + (self.y - y0) * dy) / (dx * dx + dy * dy), 0, 1)
        return np.exp(-((self.x - x0 - t * dx) ** 2 + (self.y - y0 - t * dy) ** 2) / (2 * radius**2))

    def texture(self, purpose: int, scale: float) -> np.ndarray:
        """Smooth noise, standard deviation about 1, structure of `scale` (share of the image), fixed to the film."""
        grid = self.random(purpose).normal(size=(NOISE_GRID, NOISE_GRID))
        sigma = scale * NOISE_GRID
        grid = gaussian_filter(grid, sigma, mode="wrap") * (2 * np.sqrt(np.pi) * max(sigma, 0.3))
        return sample(grid, *self.film)


def smooth(t: np.ndarray) -> np.ndarray:
    """0 below −1, 1 above 1, smooth in between."""
    t = np.clip(t * 0.5 + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def sample(grid: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bilinear look-up of a grid over the unit square."""
    n = len(grid)
    gx, gy = np.clip(x * n - 0.5, 0, n - 1.001), np.clip(y * n - 0.5, 0, n - 1.001)
    i, j = gy.astype(int), gx.astype(int)
    fy, fx = (gy - i).astype(np.float32), (gx - j).astype(np.float32)
    top = grid[i, j] * (1 - fx) + grid[i, j + 1] * fx
    return (top * (1 - fy) + (grid[i + 1, j] * (1 - fx) + grid[i + 1, j + 1] * fx) * fy).astype(np.float32)
