"""The Wasserstein critic D (paper §3.2, Table 10)."""

from __future__ import annotations

from torch import Tensor, nn

from attrinet.nets.layers import AdaConv, TaskSwitched, init_convolutions


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
