"""Convolutions in other words: the same sums, faster than libraries make them. For inference, on a CPU and in programs
compiled for a GPU.

3×3 by Winograd's minimal filtering (Lavin & Gray, 2016): 4×4 outputs out of 36 products a channel pair, not 144. The
points are chosen so that rounding is that of the direct way.
"""

from __future__ import annotations

from functools import cache, reduce

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

TILE, SIDE = 4, 6  # outputs a side of a tile, inputs a side
TILES = 512  # tiles a matrix product: enough to fill it, few enough for the processor's cache
AS_PRODUCT = "as_product"  # attribute of a convolution from or to one channel that is to be made in other words
POINTS = (0, 0.75, -0.75, 1.5, -1.5)  # of the interpolation, beside infinity
NARROWEST = 64  # channels from which this is faster than the direct way
POSITIONS = 4096  # outputs a channel, over the batch, from which transforming the weights pays


def convolve(conv: nn.Conv2d | nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """conv(x), up to rounding: in other words where no gradient is asked for and x is float32 on a CPU, and in networks
    compiled for inference (compile_in_place); else as it is."""
    channels = conv.in_channels, conv.out_channels
    if getattr(conv, AS_PRODUCT, False):
        return (from_one_channel if channels[0] == 1 else to_one_channel)(x, conv.weight, int(conv.padding[0]))
    if (torch.is_grad_enabled() or x.device.type != "cpu" or x.dtype != torch.float32 or max(channels) < NARROWEST
            or torch.is_autocast_enabled("cpu") or torch.onnx.is_in_onnx_export()):
        return conv(x)
    if channels[1] == 1:
        return to_one_channel(x, conv.weight, int(conv.padding[0]))
    if conv.kernel_size == (3, 3) and min(channels) >= NARROWEST and x.numel() >= POSITIONS * channels[0]:
        return winograd(x, conv.weight)
    return conv(x)


def winograd(x: Tensor, weight: Tensor) -> Tensor:
    """F.conv2d(x, weight, padding=1): (B, C, H, W), (O, C, 3, 3) → (B, O, H, W)."""
    (batch, channels, high, wide), out_channels = x.shape, len(weight)
    before, kernel, after = transforms()
    weight = torch.einsum("ai,bj,ocij->aboc", kernel, kernel, weight).reshape(SIDE**2, out_channels, channels)
    down, across = -(-high // TILE), -(-wide // TILE)
    x = F.pad(x, (1, across * TILE - wide + 1, 1, down * TILE - high + 1))
    out = x.new_empty(batch, out_channels, down * TILE, across * TILE)
    step = max(1, TILES // across)  # rows of tiles a time
    for image, result in zip(x, out, strict=True):
        for top in range(0, down, step):
            rows = min(step, down - top)
            strip = image[:, None, top * TILE : (top + rows) * TILE + 2]
            tiles = F.conv2d(strip, before, stride=TILE).view(channels, SIDE**2, -1)  # Bᵀ d B of every tile
            products = torch.bmm(weight, tiles.transpose(0, 1))  # (36, O, tiles)
            made = (after @ products.view(SIDE**2, -1)).view(TILE, TILE, out_channels, rows, across)  # Aᵀ m A
            place = result[:, top * TILE : (top + rows) * TILE].view(out_channels, rows, TILE, across, TILE)
            place.copy_(made.permute(2, 3, 0, 4, 1))
    return out[:, :, :high, :wide]


def from_one_channel(x: Tensor, weight: Tensor, padding: int) -> Tensor:
    """F.conv2d(x, weight, padding=padding): (B, 1, H, W), (C, 1, k, k) → (B, C, H', W')"""
    side = weight.shape[2]
    high, wide = (extent + 2 * padding - side + 1 for extent in x.shape[2:])
    return (weight.flatten(1) @ F.unfold(x, side, padding=padding)).view(len(x), len(weight), high, wide)


def to_one_channel(x: Tensor, weight: Tensor, padding: int) -> Tensor:
    """F.conv2d(x, weight, padding=padding): (B, C, H, W), (1, C, k, k) → float32 (B, 1, H', W').

    A product, then k² shifted sums. Libraries compute 8 or 32 channels where one is asked for.
    """
    side, (batch, _, high, wide) = weight.shape[2], x.shape
    taps = (weight[0].flatten(1).T @ x.flatten(2)).view(batch, side, side, high, wide)
    taps = F.pad(taps, (padding,) * 4)
    high, wide = (extent + 2 * padding - side + 1 for extent in (high, wide))
    shifted = (taps[:, i, j, i : i + high, j : j + wide].float() for i in range(side) for j in range(side))
    return reduce(torch.add, shifted)[:, None]


@cache
def transforms() -> tuple[Tensor, Tensor, Tensor]:
    """Bᵀ ⊗ Bᵀ as (36, 1, 6, 6), G (6, 3) and Aᵀ ⊗ Aᵀ (16, 36) of F(4×4, 3×3), by Toom and Cook."""
    points = np.array(POINTS)
    before, kernel, after = np.zeros((SIDE, SIDE)), np.zeros((SIDE, 3)), np.zeros((TILE, SIDE))
    for j, point in enumerate(points):
        others = np.delete(points, j)
        before[j, : SIDE - 1] = np.poly(others)[::-1]
        kernel[j] = point ** np.arange(3) / np.prod(point - others)
        after[:, j] = point ** np.arange(TILE)
    before[-1] = np.poly(points)[::-1]
    kernel[-1, -1] = after[-1, -1] = 1
    square = [torch.tensor(np.kron(m, m), dtype=torch.float32) for m in (before, after)]
    return square[0].view(SIDE**2, 1, SIDE, SIDE), torch.tensor(kernel, dtype=torch.float32), square[1]
