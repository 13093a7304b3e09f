"""What a model says that explains itself: its logits, and the pixels they are the sum of."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class AdditiveExplanation:
    """Predictions and local explanations of a batch. All float32, on the model's device.

    probabilities, logits: (B, C). contributions: (B, C, H, W), in logits: bias + their sum is the logit. bias,
    thresholds: (C,); a finding is called where its probability is at least the threshold.
    """

    findings: tuple[str, ...]
    probabilities: Tensor
    logits: Tensor
    contributions: Tensor
    bias: Tensor
    thresholds: Tensor

    @property
    def evidence(self) -> Tensor:
        """The positive part of the contributions: the local explanation shown to a reader (§3.6.1)."""
        return self.contributions.clamp(min=0)

    @property
    def called(self) -> Tensor:
        """(B, C) bool: probability at or above the finding's threshold."""
        return self.probabilities >= self.thresholds
