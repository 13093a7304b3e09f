"""An exported model is compared with the PyTorch one before anyone may use it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from attrinet.errors import AttrinetError
from attrinet.export.graph import OUTPUTS
from attrinet.nets.attrinet import AttriNet

BOUNDS = {"logits": 1e-3, "probabilities": 1e-4, "attribution": 1e-4, "contributions": 1e-5}
"""Largest difference allowed anywhere; the units are those of Explanation."""
BATCHES = (1, 3)

PRECISIONS = ("float32", "bfloat16", "int8")
FASTEST = "fastest"
LOSSY_PROBABILITY, LOSSY_PSNR = 0.01, 40.0
"""Of the other precisions, on radiographs: the largest difference of a probability, and the least peak signal-to-noise
ratio in dB of all maps, where the peak is 2, the range of an image."""

Runner = Callable[[np.ndarray], Sequence[np.ndarray]]
"""images float32 (B, 1, H, W) → arrays in the order of OUTPUTS"""


def probe_images(size: int, real: Tensor | None, seed: int = 0) -> Tensor:
    """Three images of noise, from fine to coarse, and after them the real ones: (N, 1, size, size) in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    noise = [torch.rand(1, 1, size // step, size // step, generator=generator) * 2 - 1 for step in (1, 4, size // 2)]
    drawn = [torch.nn.functional.interpolate(n, size=(size, size), mode="bilinear") for n in noise]
    return torch.cat([*drawn, *([] if real is None else [real.cpu()])])


def differences(model: AttriNet, run: Runner, images: Tensor) -> dict[str, float]:
    """Output → largest absolute difference over all images, run in batches of each of BATCHES."""
    worst = dict.fromkeys(OUTPUTS, 0.0)
    for size in BATCHES:
        for batch in images.split(size):
            want, got = model.explain(batch), run(batch.numpy())
            for name, values in zip(OUTPUTS, got, strict=True):
                expected = getattr(want, name).cpu().numpy()
                if np.shape(values) != expected.shape:
                    raise AttrinetError(f"the exported model gives {name} of shape {np.shape(values)}, want "
                                        f"{expected.shape}; nothing was written")
                gap = np.abs(np.asarray(values, np.float64) - expected).max()
                worst[name] = max(worst[name], float(gap)) if np.isfinite(gap) else np.inf
    return worst


@dataclass(frozen=True)
class Loss:
    """probability: largest difference of one from PyTorch's in float32. psnr: of the maps, in dB."""

    probability: float
    psnr: float

    @property
    def allowed(self) -> bool:
        return self.probability <= LOSSY_PROBABILITY and self.psnr >= LOSSY_PSNR

    def __str__(self) -> str:
        return f"probabilities differ by up to {self.probability:.4f}, maps at {self.psnr:.1f} dB"


def losses(
    model: AttriNet, engines: Mapping[str, Callable[[Tensor], Tensor]], images: Tensor, batch: int = 4
) -> dict[str, Loss]:
    """What each engine, images → maps, loses against the model's own float32 maps on real images (N, 1, H, W)."""
    worst, squares = dict.fromkeys(engines, 0.0), {name: [] for name in engines}
    for each in images.split(batch):
        want = model.explain(each)
        for name, engine in engines.items():
            got = engine(each)
            gap = (model.logits_of(got).sigmoid() - want.probabilities).abs().max().item()
            worst[name] = max(worst[name], gap) if math.isfinite(gap) else math.inf
            squares[name].append((got - want.attribution).square().mean((1, 2, 3)))
    return {name: Loss(worst[name], 10 * math.log10(2**2 / max(torch.cat(squares[name]).mean().item(), 1e-30)))
            for name in engines}


def require(worst: dict[str, float], what: str) -> None:
    """Raise AttrinetError with the figures where a difference is above its bound."""
    over = [f"{name} by {worst[name]:.2g} (bound {BOUNDS[name]:.0e})" for name in OUTPUTS if worst[name] > BOUNDS[name]]
    if over:
        raise AttrinetError(f"{what} differs from PyTorch: {', '.join(over)}; nothing was written")
