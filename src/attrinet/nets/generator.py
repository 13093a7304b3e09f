"""The class attribution generator M (paper §3.2, Table 9)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from attrinet.errors import AttrinetError
from attrinet.nets.layers import AdaConv, AdaResBlock, TaskSwitched, init_convolutions
from attrinet.nets.winograd import convolve

OUTPUTS = ("tanh", "difference")
LEAK = 0.2  # as in the task embedding


class Generator(nn.Module):
    """Additive map M_c(x) such that x + M_c(x) looks like an image without finding c.

    findings: C; width: channels of the first convolution (paper: 64); blocks: residual blocks (6). output: how the last
    convolution's `out` becomes the map.

    - tanh: tanh(x + out) − x, as in Table 9. No map is zero where the image is bright or dark: at x = ±1, where tanh
      reaches ±0.76, that takes an infinite `out`.
    - difference: tanh(x + out) − tanh(x), zero wherever `out` is; x + M_c(x) may leave [-1, 1] by 0.24. Where sparsity
      (eq. 3) silences every unit of the last hidden layer for a finding, a ReLU would never let its maps come back:
      here it is leaky, of slope LEAK.

    Raises AttrinetError for another output.
    """

    def __init__(self, findings: int, width: int = 64, blocks: int = 6, output: str = "tanh"):
        super().__init__()
        if output not in OUTPUTS:
            raise AttrinetError(f"output={output!r}: choose one of {', '.join(OUTPUTS)}")
        self.output = output
        self.task = TaskSwitched(findings)
        dim, w = self.task.dim, width
        # Down-sampling
        self.stem = AdaConv(nn.Conv2d(1, w, 7, padding=3, bias=False), dim)
        self.down1 = AdaConv(nn.Conv2d(w, 2 * w, 4, stride=2, padding=1, bias=False), dim)
        self.down2 = AdaConv(nn.Conv2d(2 * w, 4 * w, 4, stride=2, padding=1, bias=False), dim)
        # Bottlenecks
        self.blocks = nn.ModuleList(AdaResBlock(4 * w, dim) for _ in range(blocks))
        # Up-sampling
        self.up1 = AdaConv(nn.ConvTranspose2d(4 * w, 2 * w, 4, stride=2, padding=1, bias=False), dim)
        leak = LEAK if output == "difference" else 0.0
        self.up2 = AdaConv(nn.ConvTranspose2d(2 * w, w, 4, stride=2, padding=1, bias=False), dim, leak)
        self.last = nn.Conv2d(w, 1, 7, padding=3, bias=False)
        init_convolutions(self)
        self.checkpointing = False
        """Keep only each layer's input for the backward pass and compute the rest again: less memory, more time."""

    def _layer(self, layer: nn.Module, x: Tensor, style: Tensor) -> Tensor:
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(layer, x, style, use_reentrant=False, preserve_rng_state=False)
        return layer(x, style)

    def forward(self, x: Tensor, finding: int | Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, 1, H, W) in [-1, 1], finding index (int, or (B,) for one an image) → M_c(x), x + M_c(x).

        Both (B, 1, H, W) float32; the counterfactual is in [-1, 1] ([-1.24, 1.24]: difference), the map in [-2, 2].
        """
        style = self.task(finding, x.device)
        h = x
        for layer in (self.stem, self.down1, self.down2, *self.blocks, self.up1, self.up2):
            h = self._layer(layer, h, style)
        out = convolve(self.last, h)
        x = x.float()  # even under autocast: the map is a small difference
        squashed = torch.tanh(x + out.float())
        if self.output == "tanh":
            return squashed - x, squashed
        maps = squashed - torch.tanh(x)
        return maps, x + maps
