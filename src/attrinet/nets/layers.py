"""Task switching: the blocks that turn one network into one network per finding (paper §3.2, Tables 9 and 10)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attrinet.nets.winograd import convolve

NORM_EPS = 1e-5
CODE_REPEAT = 20  # every entry of the one-hot task code is repeated 20 times (§3.2)


def task_code(finding: Tensor, findings: int) -> Tensor:
    """One-hot code of each finding index, every entry repeated 20 times (§3.2): (B,) int → (B, 20·C) float."""
    return F.one_hot(finding, findings).float().repeat_interleave(CODE_REPEAT, dim=1)


class EqualizedLinear(nn.Module):
    """Linear layer with equalised learning rate: weight ~ N(0, 1), scaled by sqrt(2 / fan_in) at run time.

    The bias starts at 0.
    """

    def __init__(self, in_features: int, out_features: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features))
        self.gain = math.sqrt(2 / in_features)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.gain, self.bias)


class TaskEmbedding(nn.Module):
    """Task code → task embedding: pixel norm, then eight times [equalised linear, LeakyReLU 0.2] (Table 9)."""

    def __init__(self, dim: int, depth: int = 8):
        super().__init__()
        self.layers = nn.ModuleList(EqualizedLinear(dim, dim) for _ in range(depth))

    def forward(self, code: Tensor) -> Tensor:  # (B, dim)
        x = code * torch.rsqrt(code.square().mean(dim=1, keepdim=True) + 1e-8)
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
        return x


class AdaIN(nn.Module):
    """Adaptive instance normalisation: scale · norm(x) + bias, both read off the task embedding. Not 1 + scale."""

    def __init__(self, channels: int, embedding: int):
        super().__init__()
        self.style = EqualizedLinear(embedding, 2 * channels)
        with torch.no_grad():
            self.style.bias[:channels] = 1

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:  # (B, C, H, W), (B or 1, E)
        scale, bias = self.scale_and_bias(embedding)
        return torch.addcmul(bias, scale, F.instance_norm(x, eps=NORM_EPS))

    def scale_and_bias(self, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """(B or 1, E) → two (B or 1, C, 1, 1)"""
        scale, bias = self.style(embedding)[:, :, None, None].chunk(2, dim=1)
        return scale, bias


class AdaConv(nn.Module):
    """Convolution without bias, AdaIN, and a ReLU; slope: of the ReLU below 0, where 1 is none at all."""

    def __init__(self, conv: nn.Conv2d | nn.ConvTranspose2d, embedding: int, slope: float = 0.0):
        super().__init__()
        self.conv = conv
        self.norm = AdaIN(conv.out_channels, embedding)
        self.slope = slope

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        x = self.norm(convolve(self.conv, x), embedding)
        if self.slope:
            return x if self.slope == 1 else F.leaky_relu(x, self.slope)
        return F.relu(x)


class AdaResBlock(nn.Module):
    """conv 3×3, AdaIN, ReLU, conv 3×3, AdaIN, add; no ReLU after the sum (Table 9, bottlenecks)."""

    def __init__(self, channels: int, embedding: int):
        super().__init__()
        self.first = AdaConv(nn.Conv2d(channels, channels, 3, padding=1, bias=False), embedding)
        self.second = AdaConv(nn.Conv2d(channels, channels, 3, padding=1, bias=False), embedding, slope=1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return x + self.second(self.first(x, embedding), embedding)


def init_convolutions(module: nn.Module) -> None:
    """Kaiming normal with a = 2 passed as the slope, as in the authors' code."""
    for conv in module.modules():
        if isinstance(conv, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(conv.weight, a=2)


class TaskSwitched(nn.Module):
    """Embeds finding indices; generator and critic each own one such embedding."""

    def __init__(self, findings: int):
        super().__init__()
        self.findings = findings
        self.dim = CODE_REPEAT * findings
        self.mapping = TaskEmbedding(self.dim)

    def forward(self, finding: int | Tensor, device: torch.device) -> Tensor:
        """One finding for the whole batch (int → (1, E)) or one an image ((B,) → (B, E))."""
        index = finding.to(device) if isinstance(finding, Tensor) else torch.full((1,), finding, device=device)
        return self.mapping(task_code(index, self.findings))
