"""B-cos ResNet50: linear in its input, by weights that depend on the input (Böhle et al., CVPR 2022 and TPAMI 2024).

Everything between image and logit is a product with such weights: B-cos convolutions (B = 2) without bias or ReLU,
batch norm that divides but does not centre, average pooling. So logit − bias = Σ W(x) · x, and the summands are the
explanation. This is the ResNet of the B-cos authors' v2 code; Attri-Net's authors ran it with a layer norm over
channels ("position norm") instead, on [x, 1 − x] of x in [-1, 1], and read the first of the two channels alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attrinet.baselines.resnet import Parts, ResNet
from attrinet.modes import evaluated
from attrinet.nets.explanation import AdditiveExplanation
from attrinet.nets.inputs import as_images

EPS = 1e-6  # under the root of a patch's norm


class Scale(torch.autograd.Function):
    """weight · x. While its layer is held, the gradient takes the weight for a constant, so that it is W(x) and not
    the derivative of W(x) · x. W(x) itself keeps its graph: it can be differentiated, as guidance does."""

    @staticmethod
    def forward(ctx, weight: Tensor, x: Tensor, layer: Dynamic) -> Tensor:
        ctx.save_for_backward(weight, x)
        ctx.layer = layer
        return weight * x

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor, None]:
        weight, x = ctx.saved_tensors
        return None if ctx.layer.held else (gradient * x).sum_to_size(weight.shape), gradient * weight, None


class Dynamic(nn.Module):
    """A layer that multiplies its input, or a linear function of it, by weights which depend on the input."""

    held = False  # while a gradient is taken that must not see where the weights come from

    def scale(self, weight: Tensor, x: Tensor) -> Tensor:
        return Scale.apply(weight, x, self) if torch.is_grad_enabled() else weight * x


ONE_AT_A_TIME = Lock()  # layers that are held are so for every thread


@contextmanager
def held(model: nn.Module) -> Iterator[None]:
    """Gradients taken within are W(x)."""
    layers = [m for m in model.modules() if isinstance(m, Dynamic)]
    for layer in layers:
        layer.held = True
    try:
        yield
    finally:
        for layer in layers:
            layer.held = False


class BcosConv(Dynamic):
    """B-cos convolution, B = 2: |cos(x, w)| · ŵᵀx with ŵ = w / ‖w‖, cos over the patch; no bias."""

    def __init__(self, before: int, after: int, size: int = 1, stride: int = 1):
        super().__init__()
        self.linear = nn.Conv2d(before, after, size, stride, padding=size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        conv = self.linear
        unit = F.normalize(conv.weight.flatten(1)).view_as(conv.weight)
        y = F.conv2d(x, unit, stride=conv.stride, padding=conv.padding)
        squares = x.square().sum(1, keepdim=True)
        if conv.kernel_size != (1, 1) or conv.stride != (1, 1):
            squares = F.avg_pool2d(squares, conv.kernel_size, conv.stride, conv.padding, divisor_override=1)
        return self.scale(y.abs() * (squares + EPS).rsqrt(), y)


class Uncentered(Dynamic):
    """Batch norm without mean and bias (the "BNU" of the authors' code): x / standard deviation · weight.

    The deviation is that of the batch in training and its running mean in evaluation, as of any batch norm.
    """

    def __init__(self, channels: int, momentum: float = 0.1, eps: float = 1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.momentum, self.eps = momentum, eps

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            wide = x.to(torch.promote_types(x.dtype, torch.float32))  # bf16 has too few digits for a running mean
            centred = wide - wide.mean((0, 2, 3), keepdim=True)
            variance = centred.square().mean((0, 2, 3))  # var() takes twice as long on a CPU
            self.running_var.lerp_(variance.detach().to(self.running_var.dtype), self.momentum)
        else:
            variance = self.running_var
        return self.scale((self.weight * (variance + self.eps).rsqrt())[:, None, None], x)


BCOS = Parts(BcosConv, Uncentered, nn.Identity, lambda: nn.AvgPool2d(3, 2, padding=1))


def encode(images: Tensor) -> Tensor:
    """[g, 1 − g] of grey levels g in [0, 1]: (B, 1, H, W) in [-1, 1] → (B, 2, H, W).

    What [r, g, b, 1−r, 1−g, 1−b] is in the B-cos papers: no pixel is dark to the network, and ‖(g, 1 − g)‖ ≥ ½ · √2.
    """
    grey = (images + 1) / 2
    return torch.cat([grey, 1 - grey], 1)


class BcosResNet50(ResNet):
    """The inherently interpretable baseline. Meets both protocols: it classifies, and it explains itself.

    The logits' constant makes a finding without evidence as likely as one of C: −log(C − 1), as in the B-cos authors'
    code; 0 for a single finding.
    """

    kind = "bcos_resnet50"
    cost = 2.0  # one pass forward, one back

    def __init__(self, findings: Sequence[str], image_size: int = 320, *, width: int = 64, depth: int = 50):
        super().__init__(findings, image_size, width, depth, channels=2, parts=BCOS)
        self.name = f"B-cos ResNet{depth}"
        self.head = BcosConv(self.features, len(self.findings))
        self.bias = -math.log(max(len(self.findings) - 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, H, W) in [-1, 1] → logits (B, C)"""
        return self._of_encoded(encode(images))

    def _of_encoded(self, encoded: Tensor) -> Tensor:
        return self.head(self.last_map(encoded)).mean((2, 3)) + self.bias

    def contributions(
        self, images: Tensor, findings: Sequence[int] | Tensor, *, differentiable: bool = False
    ) -> tuple[Tensor, Tensor]:
        """W_c(x) · x of each of K findings, summed over the encoded channels, and the logits they sum to.

        (B, 1, H, W) → (B, K, H, W) and (B, C), in the mode the model is in: in training mode the normalisation is the
        batch's. findings: K for all images, or (B, K), each image's own. differentiable: the contributions can be
        differentiated by the parameters.
        """
        maps = []
        with torch.inference_mode(False), torch.enable_grad():
            asked = torch.as_tensor(findings, device=images.device).expand(len(images), -1)
            encoded = encode(images.detach()).requires_grad_()
            logits = self._of_encoded(encoded)
            for one in asked.split(1, dim=1):
                with ONE_AT_A_TIME, held(self):  # no image's W depends on another then: one pass serves them all
                    (weight,) = torch.autograd.grad(
                        logits.gather(1, one).sum(), encoded, retain_graph=True, create_graph=differentiable
                    )
                maps.append((weight * encoded).sum(1))
        maps = torch.stack(maps, 1)
        return (maps, logits) if differentiable else (maps.detach(), logits.detach())

    def attribute(self, images: Tensor, finding: int | str) -> Tensor:
        """Contributions to the logit of one finding, its index or name: (B, 1, H, W) → (B, H, W)."""
        return self._evaluated(images, [self.finding_index(finding)])[0][:, 0]

    def explain(self, images) -> AdditiveExplanation:
        """Predict and explain: contributions are W_c(x) · x summed over the encoded channels.

        images: anything attrinet.nets.inputs.as_images takes, as for Attri-Net.
        """
        x = as_images(images, self.image_size, self.reader).to(self.device)
        maps, logits = self._evaluated(x, range(len(self.findings)))
        return AdditiveExplanation(
            findings=self.findings,
            probabilities=logits.sigmoid(),
            logits=logits,
            contributions=maps,
            bias=torch.full_like(logits[0], self.bias),
            thresholds=self.thresholds.clone(),
        )

    def _evaluated(self, images: Tensor, findings: Sequence[int]) -> tuple[Tensor, Tensor]:
        with evaluated(self):
            return self.contributions(images, findings)
