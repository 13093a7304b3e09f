"""Gifsplanation (Cohen et al., MIDL 2021): what an autoencoder changes in the image to take the finding away.

Latent shift: z' = z − s · ∂f(D(z))/∂z, z = E(x). The map is the largest change of a pixel over the frames D(z') on the
way. Encoder and decoder are any with `Autoencoder`'s methods; attrinet.posthoc.autoencoder trains one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attrinet.posthoc.classifier import checked, device_of, logit

# The search of the authors' own successor code (github.com/ieee8023/latentshift), which they recommend.
GONE = 0.05  # probability at which the finding is taken away
DROP = 0.8  # or a fall of the probability by this much
CHANGE = 0.05  # but no further than Σ|change| of this share of Σ|image|
GROWTH = 0.1  # every step is longer by this share of the way so far
FRAMES = 10
# Theirs are steps of λ = 10 up to 3000 for their autoencoder's latents; these are shares of ‖z‖, which suit any.
STEP, FURTHEST = 0.01, 3.0
PUBLISHED_DROP, PUBLISHED_FURTHEST, PUBLISHED_SCALE = 0.15, -1000, 1024


class Autoencoder(Protocol):
    """encode takes and decode gives images (B, 1, S, S) in [-1, 1], S = image_size."""

    image_size: int

    def encode(self, images: Tensor) -> Tensor: ...

    def decode(self, latent: Tensor) -> Tensor: ...


@dataclass(eq=False)
class Gifsplanation:
    """Not negative: the change of a pixel in either direction. Every image makes at least one step, as in the method's
    first code: one that seems free of the finding has a faint map, not a blank one.

    The shift follows the gradient of the logit, which has the direction of the probability's that the authors use, but
    does not vanish where the classifier is sure. cost is measured: passes of the classifier, mean over the images of
    the last call (NaN before); those of the autoencoder are about as many.

    as_published: the setting of the Attri-Net paper, after the method's first code: λ by 1, then by 10, until the
    probability has fallen by 0.15 or rises; the map is the change of the last frame; and the classifier sees frames of
    the autoencoder's size, not its own, scaled to ±1024, which no other image it ever saw was.
    """

    model: nn.Module
    autoencoder: Autoencoder
    batch_size: int = 16
    as_published: bool = False
    _passes: int = field(default=0, init=False, repr=False)
    _explained: int = field(default=0, init=False, repr=False)
    name: ClassVar[str] = "Gifsplanation"
    device = property(device_of)

    @property
    def cost(self) -> float:
        return self._passes / self._explained if self._explained else float("nan")

    @torch.inference_mode(False)
    def attribute(self, images: Tensor, finding: int) -> Tensor:
        """(B, 1, H, W) in [-1, 1], index or name of the finding → (B, H, W), change of grey."""
        images, finding = checked(self.model, images, finding)
        explain, batch = (self._published, 1) if self.as_published else (self._largest_change, self.batch_size)
        self._passes, self._explained = 0, len(images)
        return torch.cat([explain(chunk, finding) for chunk in images.split(batch)])

    def _largest_change(self, images: Tensor, finding: int) -> Tensor:
        def decode(z: Tensor) -> Tensor:
            return resized(self.autoencoder.decode(z), images.shape[2:])

        with torch.enable_grad():
            z = self.autoencoder.encode(resized(images, self._size)).detach().requires_grad_()
            start = decode(z)
            logit = self._classify(start, finding)
            (gradient,) = torch.autograd.grad(logit.sum(), z)
        self._passes += len(images)  # backward
        with torch.no_grad():
            z, start, logit = z.detach(), start.detach(), logit.detach()
            direction = F.normalize(gradient.flatten(1)) * z.flatten(1).norm(dim=1, keepdim=True)
            direction = direction.view_as(z)
            reach = _per_image(self._search(decode, z, direction, start, logit.sigmoid(), finding), z)
            change = torch.zeros_like(start)
            for share in torch.linspace(1, 0, FRAMES)[:-1].tolist():
                change = torch.maximum(change, (decode(z - share * reach * direction) - start).abs())
        return change[:, 0]

    def _search(self, decode, z: Tensor, direction: Tensor, start: Tensor, first: Tensor, finding: int) -> Tensor:
        """(B,) how far to go, in ‖z‖: until the finding is gone, its probability rises again or the image is another.

        first: (B,) probability at the start.
        """
        reach, last, shift = torch.zeros_like(first), first.clone(), 0.0
        active = torch.arange(len(first), device=first.device)
        while len(active):
            shift += STEP + GROWTH * shift
            x = decode(z[active] - shift * direction[active])
            p = self._classify(x, finding).sigmoid()
            changed = (x - start[active]).abs().flatten(1).sum(1) / start[active].abs().flatten(1).sum(1)
            gone = (p < GONE) | (p < first[active] - DROP)
            done = gone | (p > last[active]) | (changed > CHANGE) | (shift >= FURTHEST)
            reach[active], last[active] = shift, p
            active = active[~done]
        return reach

    def _published(self, image: Tensor, finding: int) -> Tensor:
        def frame(lam: float) -> tuple[Tensor, Tensor]:
            x = PUBLISHED_SCALE * self.autoencoder.decode(z + lam * gradient)
            return x, self._classify(x, finding).sigmoid()

        gradient = 0.0
        with torch.enable_grad():
            z = self.autoencoder.encode(resized(image, self._size)).detach().requires_grad_()
            start, first = frame(0)
            (gradient,) = torch.autograd.grad(first.sum(), z)
        self._passes += 1  # backward
        with torch.no_grad():
            lam, last = 0, first
            while lam > PUBLISHED_FURTHEST:
                lam -= 1 if lam > -10 else 10
                x, p = frame(lam)
                if p > last or p < first - PUBLISHED_DROP:
                    break
                last = p
            change = (x - start).abs() / PUBLISHED_SCALE
        return resized(change, image.shape[2:])[:, 0]

    @property
    def _size(self) -> tuple[int, int]:
        return (self.autoencoder.image_size,) * 2

    def _classify(self, images: Tensor, finding: int) -> Tensor:
        self._passes += len(images)
        return logit(self.model, images, finding)


def resized(images: Tensor, size: tuple[int, ...]) -> Tensor:
    """(B, 1, H, W) → (B, 1, *size), bilinear, with the low pass that shrinking needs; unchanged where it fits."""
    if images.shape[2:] == tuple(size):
        return images
    return F.interpolate(images, tuple(size), mode="bilinear", align_corners=False, antialias=True)


def _per_image(values: Tensor, like: Tensor) -> Tensor:
    """(B,) → (B, 1, …, 1) with the dimensions of `like`."""
    return values.view(-1, *[1] * (like.ndim - 1))
