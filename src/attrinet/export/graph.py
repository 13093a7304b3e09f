"""An Attri-Net as a plain function of images, with nothing left that depends on the finding alone."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attrinet.nets.attrinet import AttriNet
from attrinet.nets.generator import Generator
from attrinet.nets.layers import AdaConv

OUTPUTS = ("logits", "probabilities", "attribution", "contributions")


class FixedNorm(nn.Module):
    """AdaIN of one finding: its scale and bias are numbers, no longer functions of the task embedding."""

    def __init__(self, scale: Tensor, bias: Tensor):
        super().__init__()
        self.register_buffer("scale", scale)
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor, _: None) -> Tensor:
        return F.instance_norm(x, weight=self.scale, bias=self.bias, eps=1e-5)


class NoTask(nn.Module):
    def forward(self, finding: int, device: torch.device) -> None:
        return None


def for_finding(generator: Generator, finding: int) -> Generator:
    """The generator of one finding. Its convolutions are those of `generator`, not copies."""
    style = generator.task(finding, generator.last.weight.device)
    shared = {id(parameter): parameter for parameter in generator.parameters()}
    fixed = copy.deepcopy(generator, memo=shared)
    for module in fixed.modules():
        if isinstance(module, AdaConv):
            scale, bias = module.norm.style(style)[0].chunk(2)
            module.norm = FixedNorm(scale.contiguous(), bias.contiguous())
    fixed.task = NoTask()
    return fixed


class Graph(nn.Module):
    """images (B, 1, H, W) in [-1, 1] → logits, probabilities (B, C), attribution, contributions (B, C, H, W).

    The numbers of AttriNet.explain, but logits are summed in float32. Findings one after another: memory does not grow
    with their number.
    """

    @torch.no_grad()
    def __init__(self, model: AttriNet):
        super().__init__()
        count = range(len(model.findings))
        self.generators = nn.ModuleList(for_finding(model.generator, c) for c in count)
        self.classifiers, self.pool = model.classifiers, model.geometry.pool
        weights = torch.stack([model.weight_map(c) for c in count])  # (C, h, w)
        upsampled = weights.repeat_interleave(self.pool, 1).repeat_interleave(self.pool, 2)
        self.register_buffer("upsampled", upsampled / self.pool**2)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        each = [generator(images, 0)[0] for generator in self.generators]  # C × (B, 1, H, W)
        # One product a finding: OpenVINO 2026.4 sums a broadcast (B, C, cells) × (C, cells) wrongly from batch 2 on
        logits = torch.cat([
            classifier(F.avg_pool2d(m, self.pool).flatten(1))
            for m, classifier in zip(each, self.classifiers, strict=True)
        ], 1)
        maps = torch.cat(each, 1)
        return logits, logits.sigmoid(), maps, maps * self.upsampled
