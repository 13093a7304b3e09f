"""Attri-Net: a classifier that predicts from its own counterfactual attribution maps (paper §3)."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attrinet.nets.compiled import kept
from attrinet.nets.critic import Critic
from attrinet.nets.explanation import AdditiveExplanation
from attrinet.nets.generator import Generator
from attrinet.nets.geometry import geometry
from attrinet.nets.inputs import Images, as_images, finding_index, finding_names

CACHED = 2**21  # numbers of the widest layer, over the batch


@dataclass(frozen=True, kw_only=True)
class Explanation(AdditiveExplanation):
    """Predictions and local explanations of a batch (§3.6.1). All float32, on the model's device.

    probabilities, logits: (B, C). attribution M_c(x), counterfactual x + M_c(x): (B, C, H, W), ranges as in
    attrinet.nets.generator. contributions: (B, C, H, W), upsampled w_c ⊙ M_c(x) / γ², in logits: bias + their sum is
    the logit. evidence: their positive part. bias, thresholds: (C,); called: (B, C) bool, where the probability is at
    least the threshold.
    """

    attribution: Tensor
    counterfactual: Tensor


@dataclass(frozen=True)
class GlobalExplanation:
    """What the model has learned on the whole data set (§3.6.2).

    Class centres positive_center, negative_center: (C, H, W), averages of M_c(x); weights: (C, h, w), logits a cell.
    """

    findings: tuple[str, ...]
    positive_center: Tensor
    negative_center: Tensor
    weights: Tensor


class AttriNet(nn.Module):
    """Generator, one logistic regression and two class centres a finding, and (for training) the critic.

    findings: names, C of them. image_size: pixels a side. width: channels of the first convolutions (paper: 64).
    pool, critic_levels: see attrinet.nets.geometry; None follows its rule (32 and 5 at 320). output: of the generator,
    see attrinet.nets.generator. critic: leave it out (False) where only predictions are wanted. At the paper's settings
    there are 55,860,281 parameters.

    Meets both protocols of attrinet.protocols: it classifies, and it explains itself.
    Raises AttrinetError for repeated or missing names and for sizes with no room.
    """

    name = "Attri-Net"
    cost = 1.0
    thresholds: Tensor
    thresholds_from: str = ""

    def __init__(
        self,
        findings: Sequence[str],
        image_size: int = 320,
        *,
        width: int = 64,
        pool: int | None = None,
        critic_levels: int | None = None,
        output: str = "tanh",
        critic: bool = True,
    ):
        super().__init__()
        self.findings = finding_names(findings)
        self.geometry = geometry(image_size, pool, critic_levels)
        self.width = width
        count, cells = len(self.findings), self.geometry.grid**2
        self.generator = Generator(count, width, output=output)
        self.classifiers = nn.ModuleList(nn.Linear(cells, 1) for _ in range(count))
        # (C, [negative, positive], H, W); the authors' code starts them at N(0, 1)
        self.centers = nn.Parameter(torch.randn(count, 2, image_size, image_size))
        self.critic = Critic(count, width, self.geometry.critic_levels) if critic else None
        self.register_buffer("thresholds", torch.full((count,), 0.5), persistent=False)
        self.reader: Callable[[str], Tensor] | None = None
        """Reads an image file the way the training images were prepared; set by attrinet.load."""
        self.findings_per_pass = 1
        """Findings explained in one forward pass; tune() measures what is faster on the device."""
        self.autocast: torch.dtype | None = None
        """What the generator's layers compute in for predictions, such as torch.bfloat16; maps stay float32."""
        self.engine: Callable[[Tensor], Tensor] | None = None
        """Another runtime's images (B, 1, H, W) → maps (B, C, H, W), on a CPU; set by attrinet.export.use_engine."""

    @property
    def images_per_pass(self) -> int:
        """As many images as the device is fastest with; on a CPU, those whose widest layer its cache copes with."""
        return max(1, CACHED // (self.width * self.image_size**2)) if self.device.type == "cpu" else 2**31 - 1

    @property
    def image_size(self) -> int:
        return self.geometry.image_size

    @property
    def device(self) -> torch.device:
        return self.centers.device

    def finding_index(self, finding: int | str) -> int:
        """Index of a finding given by name or index; AttrinetError names the nearest for an unknown name."""
        return finding_index(self.findings, finding)

    @property
    def _regressions(self) -> list[nn.Linear]:
        return [cast(nn.Linear, each) for each in self.classifiers]

    # ---- eq. 4: a map is a prediction

    def classify(self, maps: Tensor, finding: int) -> Tensor:
        """Logits of finding c from its attribution maps (eq. 4): (B, 1, H, W) → (B,)."""
        grid, pool = self.geometry.grid, self.geometry.pool
        pooled = maps.view(len(maps), grid, pool, grid, pool).mean((2, 4))  # avg_pool2d is slow on a GPU
        return self._regressions[finding](pooled.flatten(1))[:, 0]

    def weight_map(self, finding: int) -> Tensor:
        """(h, w) classifier weights of finding c."""
        return self._regressions[finding].weight.view(self.geometry.grid, self.geometry.grid)

    def contributions(self, maps: Tensor, finding: int) -> Tensor:
        """Upsampled w_c ⊙ M_c(x) / γ² (§3.6.1): (B, 1, H, W) → (B, H, W), logits a pixel."""
        pool = self.geometry.pool
        weight = self.weight_map(finding).repeat_interleave(pool, 0).repeat_interleave(pool, 1)
        return maps[:, 0] * (weight / pool**2)

    def logits_of(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C); summed in float64 so that no rounding stands between the maps and the logit."""
        pooled = F.avg_pool2d(maps.double(), self.geometry.pool).flatten(2)  # (B, C, cells)
        weight = torch.cat([c.weight for c in self._regressions]).double()
        bias = torch.cat([c.bias for c in self._regressions]).double()
        return ((pooled * weight).sum(2) + bias).float()

    # ---- inference

    @torch.no_grad()
    def tune(self, images: Tensor, repeats: int = 3) -> int:
        """Measure on `images` (B, 1, H, W) whether the findings are faster one after another or in one pass here, and
        set findings_per_pass to that. The two agree up to rounding."""
        x = images.to(self.device)
        times: dict[int, list[float]] = {1: [], len(self.findings): []}
        for repeat in range(repeats + 1):  # the first warms up
            for group, measured in times.items():
                self.findings_per_pass = group
                start = time.perf_counter()
                self.attribution_maps(x)[0].sum().item()  # .item() waits for an accelerator
                if repeat:
                    measured.append(time.perf_counter() - start)
        self.findings_per_pass = min(times, key=lambda group: statistics.median(times[group]))
        return self.findings_per_pass

    @torch.no_grad()
    def attribution_maps(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """M_c(x) and x + M_c(x) of every finding: (B, 1, H, W) in [-1, 1] → two (B, C, H, W)."""
        if self.engine is not None:
            made = self.engine(images)
            return made, images + made
        if len(images) > self.images_per_pass:
            parts = [self.attribution_maps(part) for part in images.split(self.images_per_pass)]
            return torch.cat([m for m, _ in parts]), torch.cat([cf for _, cf in parts])
        batch, count = len(images), len(self.findings)
        maps: list[Tensor] = []
        counterfactuals: list[Tensor] = []
        for chunk in torch.arange(count, device=images.device).split(self.findings_per_pass):
            finding = chunk.repeat_interleave(batch)
            with self._precision():
                m, cf = kept(self.generator(images.repeat(len(chunk), 1, 1, 1), finding))
            maps += m[:, 0].view(len(chunk), batch, *m.shape[2:]).unbind(0)
            counterfactuals += cf[:, 0].view(len(chunk), batch, *m.shape[2:]).unbind(0)
        return torch.stack(maps, 1), torch.stack(counterfactuals, 1)

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Images (B, 1, H, W) in [-1, 1] → logits (B, C), the same numbers as explain()."""
        return self.logits_of(self.attribution_maps(images)[0])

    @torch.no_grad()
    def finding_logits(self, images: Tensor, finding: int | str) -> Tensor:
        """(B,) column `finding` (index or name) of logits(images), up to rounding, for the price of one finding."""
        finding = self.finding_index(finding)
        return self.classify(self._maps_of(images, finding), finding)

    @torch.no_grad()
    def attribute(self, images: Tensor, finding: int | str) -> Tensor:
        """Contributions to the logit of one finding, its index or name: (B, 1, H, W) → (B, H, W)."""
        finding = self.finding_index(finding)
        return self.contributions(self._maps_of(images, finding), finding)

    def _maps_of(self, images: Tensor, finding: int) -> Tensor:
        with self._precision():
            return torch.cat([kept(self.generator(part, finding))[0] for part in images.split(self.images_per_pass)])

    def _precision(self) -> AbstractContextManager:
        return nullcontext() if self.autocast is None else torch.autocast(self.device.type, self.autocast)

    @torch.no_grad()
    def explain(self, images: Images) -> Explanation:
        """Predict and explain: the prediction is the sum of the explanation (§3.6.1).

        images: a float tensor or array in [-1, 1], or uint8 (mapped by v / 127.5 − 1), of shape (H, W), (1, H, W) or
        (B, 1, H, W) at the model's size; a path, for a model that attrinet.load returned; or a list of these.
        Raises AttrinetError for anything else, saying what came and what to do.
        """
        x = as_images(images, self.image_size, self.reader).to(self.device)
        maps, counterfactual = self.attribution_maps(x)
        logits = self.logits_of(maps)
        contributions = torch.stack(
            [self.contributions(maps[:, c : c + 1], c) for c in range(len(self.findings))], dim=1
        )
        return Explanation(
            findings=self.findings,
            probabilities=logits.sigmoid(),
            logits=logits,
            attribution=maps,
            counterfactual=counterfactual,
            contributions=contributions,
            bias=torch.cat([c.bias for c in self._regressions]),
            thresholds=self.thresholds.clone(),
        )

    @torch.no_grad()
    def global_explanation(self) -> GlobalExplanation:
        """Class centres and classifier weights of every finding (§3.6.2)."""
        return GlobalExplanation(
            findings=self.findings,
            positive_center=self.centers[:, 1].clone(),
            negative_center=self.centers[:, 0].clone(),
            weights=torch.stack([self.weight_map(c) for c in range(len(self.findings))]).clone(),
        )
