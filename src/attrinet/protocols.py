"""The two protocols that carry everything: what every model and every explainer of this package can do."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Classifier(Protocol):
    """Images float32 (B, 1, H, W) in [-1, 1] → one logit a finding."""

    findings: tuple[str, ...]

    def logits(self, images: Tensor) -> Tensor:
        """(B, 1, H, W) → (B, C)"""
        ...


@runtime_checkable
class Explainer(Protocol):
    """Where in the image the evidence *for* a finding lies."""

    name: str
    cost: float
    """model calls (forward or backward passes) an image and finding"""

    def attribute(self, images: Tensor, finding: int) -> Tensor:
        """(B, 1, H, W), index into the findings → (B, H, W); only positive values count as evidence"""
        ...


@runtime_checkable
class ExplainsAllAtOnce(Explainer, Protocol):
    """An explainer whose model calls for one finding serve all of them."""

    def attribute_all(self, images: Tensor) -> Tensor:
        """(B, 1, H, W) → (B, C, H, W): attribute() for every finding, for the calls of one"""
        ...
