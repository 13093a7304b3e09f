"""ResNet50 for grey images and several findings (He et al., CVPR 2016), the black box of §4.1.3.

The layout is the one in common use, with the stride in the 3×3 convolution ("v1.5"): 25,557,032 parameters for colour
images and 1,000 classes. The skeleton takes its parts from outside, so that B-cos (attrinet.baselines.bcos) shares it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from attrinet.baselines.baseline import Baseline
from attrinet.errors import AttrinetError

BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}  # residual blocks of the four stages


@dataclass(frozen=True)
class Parts:
    """What a ResNet is made of: conv(before, after, size, stride), norm(channels), act(), pool() that halves."""

    conv: Callable[[int, int, int, int], nn.Module]
    norm: Callable[[int], nn.Module]
    act: Callable[[], nn.Module]
    pool: Callable[[], nn.Module]


def plain_conv(before: int, after: int, size: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, size, stride, padding=size // 2, bias=False)


# ReLUs are modules: Guided Backprop (attrinet.posthoc) hooks them
PLAIN = Parts(plain_conv, nn.BatchNorm2d, nn.ReLU, lambda: nn.MaxPool2d(3, 2, padding=1))


def stem_halvings(image_size: int) -> int:
    """How often the stem halves the image: twice as published, less where the last map would be under 5 pixels a side.

    The stem's 7×7 convolution halves from 80 pixels on, its pooling from 160; the three later stages always halve. The
    last map has 10×10 cells at 320 pixels, 7×7 at 224, 8×8 at 128 and at 64.
    """
    return 2 if image_size >= 160 else 1 if image_size >= 80 else 0


class Block(nn.Module):
    """Residual block: 3×3, 3×3 in depth 18; 1×1, 3×3, 1×1 to four times the channels in depth 50. The first 3×3 has
    the stride; a 1×1 shortcut where shapes differ."""

    def __init__(self, before: int, channels: int, stride: int, depth: int, parts: Parts):
        super().__init__()
        if depth >= 50:
            self.channels = 4 * channels
            shapes = [(before, channels, 1, 1), (channels, channels, 3, stride), (channels, self.channels, 1, 1)]
        else:
            self.channels = channels
            shapes = [(before, channels, 3, stride), (channels, channels, 3, 1)]
        self.convs = nn.ModuleList(parts.conv(*shape) for shape in shapes)
        self.norms = nn.ModuleList(parts.norm(after) for _, after, _, _ in shapes)
        same = stride == 1 and before == self.channels
        self.shortcut = None if same else nn.Sequential(
            parts.conv(before, self.channels, 1, stride), parts.norm(self.channels)
        )
        self.act = parts.act()

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for k, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = norm(conv(self.act(y) if k else y))
        return self.act(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(Baseline):
    """The four-stage skeleton; subclasses say what its parts are.

    findings: names, C of them. image_size: pixels a side. width: channels of the stem (published: 64). depth: 50 or 18.
    Raises AttrinetError for an unknown depth too.
    """

    SIZES = ("width", "depth")

    def __init__(
        self, findings: Sequence[str], image_size: int, width: int, depth: int, *, channels: int, parts: Parts
    ):
        super().__init__(findings, image_size)
        if depth not in BLOCKS:
            raise AttrinetError(f"depth={depth}: choose one of {', '.join(map(str, BLOCKS))}")
        self.width, self.depth = width, depth
        halvings = stem_halvings(image_size)
        stem = [parts.conv(channels, width, 7, 2 if halvings else 1), parts.norm(width)]
        self.stem = nn.Sequential(*stem)
        self.pool = parts.pool() if halvings == 2 else None
        self.act = parts.act()
        stages, before = [], width
        for stage, count in enumerate(BLOCKS[depth]):
            blocks = []
            for k in range(count):
                stride = 2 if stage and not k else 1
                blocks.append(Block(before, width << stage, stride, depth, parts))
                before = blocks[-1].channels
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.features = before  # channels of the last map
        for conv in self.modules():
            if isinstance(conv, nn.Conv2d):
                nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")

    def last_map(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) → (B, features, h, w)"""
        x = self.act(self.stem(x))
        return self.stages(x if self.pool is None else self.pool(x))

    @property
    def gradcam_layer(self) -> nn.Module:
        """The layer whose output Grad-CAM weighs: the last stage."""
        return self.stages[-1]


class ResNet50(ResNet):
    """The black-box baseline. It predicts; explaining it is a post-hoc method's work."""

    kind = "resnet50"

    def __init__(self, findings: Sequence[str], image_size: int = 320, *, width: int = 64, depth: int = 50):
        super().__init__(findings, image_size, width, depth, channels=1, parts=PLAIN)
        self.name = f"ResNet{depth}"
        self.head = nn.Linear(self.features, len(self.findings))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, H, W) in [-1, 1] → logits (B, C)"""
        return self.head(self.last_map(images).mean((2, 3)))
