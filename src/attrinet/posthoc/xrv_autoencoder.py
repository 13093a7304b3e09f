"""torchxrayvision's ResNet autoencoder "101-elastic", which Gifsplanation's authors use, from a local weights file.

Get nihpcrsnamimic_ch-resnet101-2-ae-test2-elastic-e250.pt from the releases of github.com/mlmed/torchxrayvision. The
package itself is not needed: it wants torchvision. Module names are those of the weights.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attrinet.errors import AttrinetError, said

SCALE = 1024  # its images are in [-1024, 1024]


class XrvAutoencoder(nn.Module):
    """(B, 1, 224, 224) in [-1, 1] → latent (B, 512, 3, 3) → (B, 1, 224, 224) in about [-1, 1]."""

    image_size = 224

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _down(64, 64, blocks=3, stride=1)
        self.layer2 = _down(256, 128, blocks=4, stride=2)
        self.layer3 = _down(512, 256, blocks=23, stride=2)
        self.layer4 = _down(1024, 128, blocks=2, stride=6)
        self.uplayer1 = _up(512, 128, blocks=2, stride=6)
        self.uplayer2 = _up(256, 64, blocks=23, stride=2)
        self.uplayer3 = _up(128, 32, blocks=4, stride=2)
        self.uplayer4 = _up(64, 16, blocks=3, stride=2)
        self.uplayer_top = Bottleneck(32, 64, 64, 2, up=True)
        self.conv1_1 = nn.ConvTranspose2d(64, 1, 1, bias=False)

    def encode(self, images: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(images * SCALE))), 3, 2, 1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def decode(self, latent: Tensor) -> Tensor:
        x = self.uplayer4(self.uplayer3(self.uplayer2(self.uplayer1(latent))))
        return self.conv1_1(self.uplayer_top(x)) / SCALE


class Bottleneck(nn.Module):
    """1×1, 3×3 with the stride, 1×1 convolutions with batch norm, and a shortcut; ReLU before the sum and after it.

    up: the strides are transposed.
    """

    def __init__(self, inputs: int, inner: int, outputs: int, stride: int = 1, up: bool = False):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, inner, 1, bias=False), nn.BatchNorm2d(inner)
        if up and stride > 1:
            self.conv2 = nn.ConvTranspose2d(inner, inner, 3, stride, 1, output_padding=1, bias=False)
        else:
            self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.downsample = self.upsample = None
        if stride > 1 or inputs != outputs:
            if up:
                shortcut = nn.ConvTranspose2d(inputs, outputs, 1, stride, output_padding=1, bias=False)
                self.upsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))
            else:
                shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
                self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        shortcut = self.downsample or self.upsample or nn.Identity()
        return F.relu(F.relu(self.bn3(self.conv3(y))) + shortcut(x))


def _down(inputs: int, inner: int, blocks: int, stride: int) -> nn.Sequential:
    first = Bottleneck(inputs, inner, 4 * inner, stride)
    return nn.Sequential(first, *[Bottleneck(4 * inner, inner, 4 * inner) for _ in range(blocks - 1)])


def _up(inputs: int, inner: int, blocks: int, stride: int) -> nn.Sequential:
    last = Bottleneck(inputs, inner, 2 * inner, stride, up=True)
    return nn.Sequential(*[Bottleneck(inputs, inner, inputs) for _ in range(blocks - 1)], last)


def load_xrv_autoencoder(path: str | Path, device: str | torch.device = "cpu") -> XrvAutoencoder:
    """In evaluation mode. Read by torch's weights-only loader, which runs no code; AttrinetError for another file."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        with torch.device("meta"):  # 31 million weights need not be drawn first
            model = XrvAutoencoder()
        model.load_state_dict(OrderedDict(state), assign=True)
    except FileNotFoundError as error:
        raise AttrinetError(f"{path}: not found; download torchxrayvision's autoencoder 101-elastic") from error
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError) as error:
        raise AttrinetError(f"{path}: not the weights of torchxrayvision's autoencoder 101-elastic "
                            f"({said(error)})") from error
    return model.to(device).eval()
