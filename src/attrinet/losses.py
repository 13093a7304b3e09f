"""The losses of the paper (§3.2 to §3.5) as plain functions of tensors.

Maps, images and counterfactuals are (B, 1, H, W); scores and logits (B,). Every loss is a scalar, a mean over images
unless it says otherwise. Weights (λ, α) are the caller's, but for α₀ and α₁ of eq. 3. Half-precision input is summed
in float32: a loss in bf16 would keep two or three digits.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST_ENERGY = 1e-6  # Σ|M| of an image


def _precise(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def critic_loss(score_negative: Tensor, score_counterfactual: Tensor) -> Tensor:
    """Wasserstein critic loss (eq. 1): −E[D(x), negatives] + E[D(x + M(x)), positives]."""
    return _precise(score_counterfactual).mean() - _precise(score_negative).mean()


def gradient_penalty(
    critic: Callable[[Tensor], Tensor], images: Tensor, counterfactuals: Tensor, alpha: Tensor
) -> Tensor:
    """E[(‖∇D‖₂ − 1)²] at alpha · x + (1 − alpha) · counterfactual (Gulrajani et al., 2017; the paper weighs it by 10).

    critic: images → (B,) scores. alpha: (B,) in [0, 1], one an image. images: positives, as in the authors' code.
    """
    mixed = between(images, counterfactuals, alpha).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)
    return norm_penalty(gradient)


def between(images: Tensor, counterfactuals: Tensor, alpha: Tensor) -> Tensor:
    """alpha · x + (1 − alpha) · counterfactual, cut from any graph: where the gradient is penalised."""
    alpha = alpha.view(-1, 1, 1, 1)
    return (alpha * images + (1 - alpha) * counterfactuals).detach()


def norm_penalty(gradient: Tensor) -> Tensor:
    """E[(‖∇D‖₂ − 1)²] of gradients by the image, (B, 1, H, W)."""
    return (_precise(gradient).flatten(1).norm(dim=1) - 1).square().mean()


def adversarial_loss(score_counterfactual: Tensor) -> Tensor:
    """What the generator gains from fooling the critic (eq. 2): −E[D(x + M(x))] over positives."""
    return -_precise(score_counterfactual).mean()


def l1_loss(
    map_negative: Tensor, map_positive: Tensor, alpha0: float = 2.0, alpha1: float = 1.0, norm: str = "mean"
) -> Tensor:
    """Sparsity of the maps (eq. 3): α₀ E‖M(x)‖₁ over negatives + α₁ E‖M(x)‖₁ over positives.

    norm "mean" averages |M| over pixels, as the authors' code does and their weight of 100 supposes; "sum" is the
    literal ‖·‖₁.
    """
    return alpha0 * _l1(map_negative, norm) + alpha1 * _l1(map_positive, norm)


def _l1(maps: Tensor, norm: str) -> Tensor:
    maps = _precise(maps)
    return maps.abs().mean() if norm == "mean" else maps.abs().flatten(1).sum(1).mean()


def classification_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross entropy of finding c over the negative and positive batch together (§3.3)."""
    return F.binary_cross_entropy_with_logits(_precise(logits), labels)


def center_loss(map_negative: Tensor, map_positive: Tensor, centers: Tensor) -> Tensor:
    """Centre loss (eq. 5): ½ E‖M(x) − v₀‖² over negatives + ½ E‖M(x) − v₁‖² over positives.

    centers: (2, H, W), negative then positive. With equal batches this is also the authors' coded form: the sum of
    squared distances over both batches, divided by the number of images in both.
    """
    negative, positive = centers
    return 0.5 * (_squared_distance(map_negative, negative) + _squared_distance(map_positive, positive))


def _squared_distance(maps: Tensor, center: Tensor) -> Tensor:
    return (_precise(maps)[:, 0] - center).square().flatten(1).sum(1).mean()


def guidance_loss(maps: Tensor, masks: Tensor, reduction: str = "mean") -> Tensor:
    """Share of the map's energy |M| outside the guidance mask (eq. 6), positives only.

    masks: (B, H, W) in [0, 1]. A zero map has no energy anywhere: it costs 1, with gradient zero; the share of less
    than SMALLEST_ENERGY, whose gradient would have no bound, is taken of that. reduction "mean" is the expectation of
    the text, "sum" what the authors' code does over the batch, "none" gives (B,).
    """
    energy = _precise(maps)[:, 0].abs().flatten(1)
    inside = (energy * masks.flatten(1)).sum(1)
    total = energy.sum(1)
    loss = 1 - inside / total.clamp(min=SMALLEST_ENERGY)
    reductions: dict[str, Callable[[], Tensor]] = {"mean": loss.mean, "sum": loss.sum, "none": lambda: loss}
    return reductions[reduction]()
