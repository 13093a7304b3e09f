"""A classifier whose evidence is known: one finding is a horizontal bar, the other a vertical one, and nothing else."""

import torch
import torch.nn.functional as F
from torch import nn

SIZE = 64
HORIZONTAL = (slice(12, 16), slice(8, 32))  # where the bars are, in the image that has both
VERTICAL = (slice(32, 56), slice(44, 48))
BARS = (HORIZONTAL, VERTICAL)
MARGIN = 4  # reach of the detector's filter


class CountPasses(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, model):
        ctx.model = model
        model.passes += len(logits)
        return logits.clone()

    @staticmethod
    def backward(ctx, gradient):
        ctx.model.passes += len(gradient)
        return gradient, None


class Planted(nn.Module):
    """Matched filters, threshold, sum: logits (B, 2). passes: images that went forward or backward."""

    findings = ("horizontal", "vertical")

    def __init__(self):
        super().__init__()
        bar = torch.full((9, 9), -1 / 54)
        bar[3:6] = 1 / 27
        self.stage = nn.Sequential(nn.Conv2d(1, 2, 9, padding=4, padding_mode="reflect"), nn.ReLU(inplace=True))
        self.head = nn.Linear(2, 2)
        self.passes = 0
        with torch.no_grad():
            self.stage[0].weight[:] = torch.stack([bar, bar.T])[:, None]
            self.stage[0].bias.fill_(-0.3)
            self.head.weight[:] = 0.25 * torch.eye(2)
            self.head.bias.fill_(-3)

    @property
    def gradcam_layer(self):
        return self.stage

    def forward(self, images):
        return CountPasses.apply(self.head(self.stage(images).sum((2, 3))), self)


def planted_images(size: int = SIZE) -> torch.Tensor:
    """(3, 1, size, size) in [-1, 1]: both bars, the horizontal one, the vertical one, on grey with a little noise."""
    images = torch.randn(3, 1, size, size, generator=torch.Generator().manual_seed(0)) * 0.03
    for number, bars in enumerate([(HORIZONTAL, VERTICAL), (HORIZONTAL,), (VERTICAL,)]):
        for bar in bars:
            images[number, 0][bar] += 0.9
    return images.clamp(-1, 1)


def window(finding: int, size: int = SIZE) -> torch.Tensor:
    """(size, size) bool: the bar of a finding and what the detector sees around it."""
    mask = torch.zeros(1, 1, size, size)
    mask[0, 0][BARS[finding]] = 1
    return F.max_pool2d(mask, 2 * MARGIN + 1, 1, MARGIN)[0, 0].bool()


class BlockAutoencoder:
    """Means over 4 × 4 pixels: a linear autoencoder whose every latent is a place."""

    def __init__(self, image_size: int):
        self.image_size = image_size

    def encode(self, images):
        return F.avg_pool2d(images, 4)

    def decode(self, latent):
        return F.interpolate(latent, scale_factor=4)
