"""The three kinds of training step (paper §3.7): critic, generator, classifier. Each updates its own network only."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.func import functional_call

from attrinet import losses
from attrinet.data.images import upload
from attrinet.data.sampling import KINDS, Sampler, generator_for
from attrinet.data.store import Store
from attrinet.guidance import Guidance
from attrinet.nets.compiled import compile_in_place, compiler, compiles, kept
from attrinet.nets.critic import Critic
from attrinet.train.batches import average, jittered, share, update
from attrinet.train.config import Config
from attrinet.train.state import TrainState

MAPS_PER_PASS = 64  # images whose maps are made in one forward pass where the generator is frozen


def critic_terms(
    critic: Critic, negatives: Tensor, counterfactuals: Tensor, positives: Tensor, alpha: Tensor, finding: Tensor,
    penalised: bool = True,
) -> tuple[Tensor, Tensor]:
    """Wasserstein loss (eq. 1) and gradient penalty, which is not computed but 0 where nothing is `penalised`."""
    scores = critic(torch.cat([negatives, counterfactuals]), finding)
    real, false = scores.split([len(negatives), len(counterfactuals)])
    wasserstein = losses.critic_loss(real, false)
    if not penalised:
        return wasserstein, torch.zeros_like(wasserstein)
    gradient = critic.input_gradient(losses.between(positives, counterfactuals, alpha), finding)
    return wasserstein, losses.norm_penalty(gradient)


def judge(critic: Critic, images: Tensor, finding: Tensor) -> Tensor:
    """The scores of a critic that is frozen: with gradients by the images alone."""
    weights = {name: weight.detach() for name, weight in critic.named_parameters()}
    return functional_call(critic, weights, (images, finding))


class Steps:
    """Takes steps on a TrainState; holds what all of them need, no state of its own.

    Batches, jitter and penalty positions depend on the seed and the step's counter alone. With several processes each
    takes its share of the same global batch, and gradients are averaged: the mathematics is that of one process.
    Under bf16 generator and critic run in it; their outputs, every loss and the classifiers are float32. On a GPU the
    networks are compiled (run.compile).
    """

    def __init__(
        self, fabric: Fabric, state: TrainState, store: Store, sampler: Sampler, guidance: Guidance | None,
        config: Config,
    ):
        self.fabric, self.state, self.store, self.sampler = fabric, state, store, sampler
        self.guidance, self.config = guidance, config
        self.findings = torch.arange(len(store.findings), device=fabric.device)
        self._critic_terms, self._judge = critic_terms, judge
        self._maps_per_pass, self._round = state.model.images_per_pass, 1
        if config.run.compile == "auto" and compiles(fabric.device):
            self._critic_terms, self._judge = map(compiler(), (critic_terms, judge))
            compile_in_place(state.model.generator, inference=False)
            self._round = max(1, config.schedule.critic_steps)  # critic steps a pass: frozen maps are of one shape
            self._maps_per_pass = self._round * config.run.batch_size

    # ---- batches

    def _random(self, kind: str, counter: int) -> np.random.Generator:
        return generator_for(self.config.run.seed, len(KINDS) + KINDS.index(kind), counter)

    def _mine(self, values: np.ndarray) -> np.ndarray:
        return share(self.fabric, values)

    def _images(self, rows: np.ndarray, random: np.random.Generator) -> Tensor:
        return jittered(self.fabric, self.store, rows, self.config.data, random)

    def _next(self, kind: str) -> tuple[int, np.ndarray, np.ndarray, np.random.Generator]:
        counter = self.state.counters[kind]
        self.state.counters[kind] += 1
        return *self.sampler.draw(kind, counter), self._random(kind, counter)

    def _frozen_maps(self, images: list[Tensor], findings: list[int]) -> list[tuple[Tensor, Tensor]]:
        """Maps and counterfactuals of several batches, each with its finding, without a graph and in as few passes as
        the device is fastest with."""
        sizes = [len(x) for x in images]
        finding = upload(np.repeat(findings, sizes), self.fabric.device)
        parts = (each.split(self._maps_per_pass) for each in (torch.cat(images), finding))
        with torch.no_grad(), self.fabric.autocast():
            made = [kept(self.state.model.generator(*part)) for part in zip(*parts, strict=True)]
        maps, counterfactuals = (torch.cat(each).split(sizes) for each in zip(*made, strict=True))
        return list(zip(maps, counterfactuals, strict=True))

    def _update(self, name: str, loss: Tensor, parameters: Iterable[torch.nn.Parameter]) -> None:
        update(self.fabric, self.state.optimizers[name], loss, parameters)

    # ---- critic

    def critic(self, count: int) -> list[Tensor]:
        """`count` critic steps (eq. 1 + penalty); their losses. The generator is frozen, so its counterfactuals for
        many steps are made at once."""
        out = []
        per_pass = max(1, MAPS_PER_PASS // (self.config.run.batch_size * self._round)) * self._round
        for start in range(0, count, per_pass):
            draws = [self._next("critic") for _ in range(min(per_pass, count - start))]
            negatives = [self._images(neg, random) for _, neg, _, random in draws]
            positives = [self._images(pos, random) for _, _, pos, random in draws]
            alphas = upload(np.stack([self._mine(random.uniform(size=len(pos))) for _, _, pos, random in draws])
                            .astype(np.float32), self.fabric.device)  # in one message
            made = self._frozen_maps(positives, [finding for finding, *_ in draws])
            for (finding, *_), x_neg, x_pos, (_, fake), alpha in zip(
                draws, negatives, positives, made, alphas, strict=True
            ):
                out.append(self._critic_step(finding, x_neg, x_pos, fake, alpha))
        return out

    def _critic_step(self, finding: int, x_neg: Tensor, x_pos: Tensor, fake: Tensor, alpha: Tensor) -> Tensor:
        critic, weight = self.state.model.critic, self.config.losses.gradient_penalty
        with self.fabric.autocast():
            wasserstein, penalty = self._critic_terms(critic, x_neg, fake, x_pos, alpha, self._index(finding),
                                                      weight > 0)
        loss = wasserstein + weight * penalty
        self._update("critic", loss, critic.parameters())
        return loss.detach()

    def _index(self, finding: int) -> Tensor:
        """(1,) on the device: nothing to send, and one compiled program for all findings."""
        return self.findings[finding : finding + 1]

    # ---- generator and class centres

    def generator(self) -> dict[str, Tensor]:
        """One generator step (eq. 7) and one step of the class centres of its finding; every loss before its λ."""
        finding, neg, pos, random = self._next("generator")
        x = torch.cat([self._images(neg, random), self._images(pos, random)])
        model, weights = self.state.model, self.config.losses
        half = len(x) // 2
        with self.fabric.autocast():
            maps, counterfactuals = model.generator(x, self._index(finding))
        m_neg, m_pos = maps[:half], maps[half:]
        terms = {}
        if weights.adversarial:
            with self.fabric.autocast():
                scores = self._judge(model.critic, counterfactuals[half:], self._index(finding))
            terms["adversarial"] = losses.adversarial_loss(scores)
        if weights.classification:
            labels = (torch.arange(2 * half, device=x.device) >= half).float()
            terms["classification"] = losses.classification_loss(model.classify(maps, finding), labels)
        if weights.l1:
            terms["l1"] = losses.l1_loss(m_neg, m_pos, weights.l1_negative, weights.l1_positive, weights.l1_norm)
        if weights.center:
            terms["center"] = losses.center_loss(m_neg, m_pos, model.centers[finding].detach())
        if self.guidance is not None and weights.guidance:
            terms["guidance"] = self._guidance(m_pos, self._mine(pos), finding)
        total = sum(getattr(weights, name) * term for name, term in terms.items())
        self._update("generator", total, model.generator.parameters())
        self._center_step(finding, m_neg.detach(), m_pos.detach())
        self.state.step += 1
        return {name: term.detach() for name, term in terms.items()}

    def _guidance(self, maps: Tensor, rows: np.ndarray, finding: int) -> Tensor:
        """Eq. 6 over the guided images of the batch; an unguided one costs nothing."""
        masks, guided = self.guidance.masks(rows, finding)
        each = losses.guidance_loss(maps, upload(masks, maps.device), "none") * upload(guided, maps.device)
        if self.config.losses.guidance_reduction == "sum":
            return each.sum() * self.fabric.world_size  # gradients are averaged over processes
        return each.mean()

    def _center_step(self, finding: int, m_neg: Tensor, m_pos: Tensor) -> None:
        """SGD on the two centres of one finding with the gradient of eq. 5, free of its λ (§3.4).

        Centres follow the maps even where λ is 0, so every model has a global explanation.
        """
        with torch.enable_grad():
            centers = self.state.model.centers[finding].detach().requires_grad_()
            (gradient,) = torch.autograd.grad(losses.center_loss(m_neg, m_pos, centers), centers)
        average(self.fabric, [gradient])
        with torch.no_grad():
            self.state.model.centers[finding] -= self.config.optimizer.center_lr * gradient

    # ---- classifiers

    def classifier(self, count: int) -> list[Tensor]:
        """`count` classifier steps on maps of fresh batches, the generator frozen; their losses before λ."""
        draws = [self._next("classifier") for _ in range(count)]
        images = [torch.cat([self._images(neg, r), self._images(pos, r)]) for _, neg, pos, r in draws]
        made = self._frozen_maps(images, [finding for finding, *_ in draws]) if draws else []
        out = []
        for (finding, *_), (maps, _) in zip(draws, made, strict=True):
            labels = (torch.arange(len(maps), device=maps.device) >= len(maps) // 2).float()
            loss = losses.classification_loss(self.state.model.classify(maps, finding), labels)
            weight = self.config.losses.classification or 1.0
            self._update("classifier", weight * loss, self.state.model.classifiers[finding].parameters())
            out.append(loss.detach())
        return out
