"""Everything a resume needs, in one object: networks, optimisers, counters, the best so far."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from attrinet.nets.attrinet import AttriNet
from attrinet.resume import flat_tensors, restore_tensors
from attrinet.train.config import OptimizerConfig

ADDED = ("data", "masks")  # to what a checkpoint holds: those of earlier versions lack them


@dataclass
class TrainState:
    """model, its Adam optimisers by name (Attri-Net has three, a baseline one), and how far the run has come.

    step: generator steps done; of a baseline, its steps. counters: Attri-Net's steps by kind; each kind walks the
    findings on its own (§3.7).
    window: losses since the last record of the log, so that a resumed run's log has the same means. data: identity of
    the store. masks: of the guidance masks that were given as files.
    """

    model: nn.Module
    optimizers: dict[str, torch.optim.Adam]
    step: int = 0
    counters: dict[str, int] = field(default_factory=lambda: {"critic": 0, "generator": 0, "classifier": 0})
    best_auc: float = -1.0
    best_step: int = -1
    window: dict[str, list[float]] = field(default_factory=dict)
    data: dict[str, str] | None = None
    masks: str | None = None

    def progress(self) -> dict:
        names = ("step", "counters", "best_auc", "best_step", "window", "data", "masks")
        return {name: getattr(self, name) for name in names}

    def tensors(self) -> dict[str, Tensor]:
        """All weights and optimiser moments under flat names."""
        return flat_tensors(self.model, self.optimizers)

    def restore(self, tensors: dict[str, Tensor], progress: dict) -> None:
        """The inverse of tensors() and progress(), into networks of the same shape."""
        restore_tensors(tensors, self.model, self.optimizers)
        for name in self.progress():
            setattr(self, name, progress.get(name) if name in ADDED else progress[name])


def new_state(model: AttriNet, config: OptimizerConfig) -> TrainState:
    """Optimisers as in the authors' code: betas 0, 0.9 and weight decay for M and D, default betas for classifiers.

    One Adam serves all classifiers: those of other findings have no gradient in a step and are left alone.
    """
    shared = {"lr": config.lr, "betas": (config.beta1, config.beta2), "weight_decay": config.weight_decay}
    return TrainState(
        model,
        {
            "generator": torch.optim.Adam(model.generator.parameters(), fused=True, **shared),
            "critic": torch.optim.Adam(model.critic.parameters(), fused=True, **shared),
            "classifier": torch.optim.Adam(model.classifiers.parameters(), lr=config.classifier_lr, fused=True),
        },
    )
