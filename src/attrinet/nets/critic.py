"""The Wasserstein critic D (paper §3.2, Table 10)."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from attrinet.nets.layers import NORM_EPS, AdaConv, TaskSwitched, init_convolutions


class Critic(nn.Module):
    """Scores how much an image looks like a real one without finding c; no sigmoid.

    findings: C; width: channels of the first convolution (64); levels: strided convolutions, each doubling the
    channels (5). Table 10 gives no strides: 1 for the first convolution, 2 for the others give the stated size.
    """

    def __init__(self, findings: int, width: int = 64, levels: int = 5):
        super().__init__()
        self.task = TaskSwitched(findings)
        dim = self.task.dim
        self.stem = AdaConv(nn.Conv2d(1, width, 4, stride=1, padding=1, bias=False), dim)
        self.levels = nn.ModuleList(
            AdaConv(nn.Conv2d(width << i, width << (i + 1), 4, stride=2, padding=1, bias=False), dim)
            for i in range(levels)
        )
        self.last = nn.Conv2d(width << levels, 1, 3, padding=1, bias=False)
        init_convolutions(self)

    def forward(self, x: Tensor, finding: int | Tensor) -> Tensor:
        """Images (B, 1, H, W) in [-1, 1], finding index (int or (B,)) → one number an image, (B,) float32."""
        style = self.task(finding, x.device)
        h = self.stem(x, style)
        for level in self.levels:
            h = level(h, style)
        return self.last(h).float().mean(dim=(1, 2, 3))

    def input_gradient(self, x: Tensor, finding: int | Tensor) -> Tensor:
        """∂ forward(x, finding).sum() / ∂x, (B, 1, H, W), as forward operations: what a penalty on it is trained with
        needs one backward pass through these.

        Left to autograd, the gradient of the gradient asks for convolutions whose kernels are as large as the images,
        which libraries are slow at, and cannot be compiled.
        """
        style = self.task(finding, x.device)
        h, kept = x, []
        for layer in (self.stem, *self.levels):
            layer = cast(AdaConv, layer)
            y = layer.conv(h)
            scale, bias = layer.norm.scale_and_bias(style)
            normed = F.instance_norm(y, eps=NORM_EPS)
            spread = y.float() if y.dtype.itemsize == 2 else y  # the variance of half-precision numbers
            inverse = spread.var((2, 3), correction=0, keepdim=True).add(NORM_EPS).rsqrt().to(y.dtype)
            z = bias + scale * normed
            kept.append((h.shape, cast(nn.Conv2d, layer.conv), normed, inverse * scale, z > 0))
            h = F.relu(z)
        cells = h.shape[2] * h.shape[3]
        g = F.conv_transpose2d(h.new_full((len(h), 1, *h.shape[2:]), 1 / cells), self.last.weight, padding=1)
        for shape, conv, normed, factor, alive in reversed(kept):
            g = g * alive
            g = factor * (g - g.mean((2, 3), keepdim=True) - normed * (g * normed).mean((2, 3), keepdim=True))
            stride, padding, side = (int(pair[0]) for pair in (conv.stride, conv.padding, conv.kernel_size))
            unseen = [shape[k] - ((g.shape[k] - 1) * stride - 2 * padding + side) for k in (2, 3)]  # by no window
            g = F.conv_transpose2d(g, conv.weight, None, stride, padding, unseen)
        return g
