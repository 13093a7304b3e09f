"""Numbers that are no longer finite end a run at once: in the step they come up, before they can reach a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from attrinet.data.store import Store
from attrinet.errors import AttrinetError
from attrinet.train.checkpoint import checkpoints
from attrinet.train.config import Config
from attrinet.train.state import TrainState

Batch = Callable[[str, int], np.ndarray]
"""Name of a loss, and how many values of it the last step gave from the wanted one on → rows of the batch behind it."""


class FiniteCheck:
    """Raises AttrinetError that names what broke, the step, the last good checkpoint and, of a loss, its images.

    Every process of a run must ask, and all of them raise together.
    """

    def __init__(self, folder, config: Config, fabric: Fabric, store: Store, state: TrainState, batch: Batch):
        self.folder, self.config, self.fabric = folder, config, fabric
        self.store, self.state, self.batch = store, state, batch

    def losses(self, losses: dict[str, list[Tensor]]) -> None:
        """Every value of the step just taken, in the order of its networks: the first broken one is the cause."""
        places = [(name, len(values) - k) for name, values in losses.items() for k in range(len(values))]
        values = torch.stack([value.float() for values in losses.values() for value in values])
        broken = self.fabric.all_reduce((~values.isfinite()).float(), reduce_op="sum").cpu()
        if broken.any():
            first = int(broken.nonzero()[0])
            name, back = places[first]
            ids = ", ".join(map(str, self.store.ids[self.batch(name, back)]))
            own = values[first]
            found = "not finite on another process" if own.isfinite() else own.item()
            self._stop(f"{name} is {found} at step {self.state.step}, on the images {ids}")

    def weights(self) -> None:
        """All that a checkpoint would hold."""
        for name, tensor in self.state.tensors().items():
            if not torch.isfinite(tensor).all():
                self._stop(f"{name} is no longer finite after step {self.state.step}")

    def predictions(self, probabilities: np.ndarray, rows: np.ndarray) -> None:
        """(N, C) of the store's `rows`: a model that predicts NaN has no AUC and must not become the best."""
        bad = np.flatnonzero(~np.isfinite(probabilities).all(1))
        if len(bad):
            self._stop(f"the prediction of image {self.store.ids[rows[bad[0]]]} is not finite after step "
                       f"{self.state.step}")

    def _stop(self, what: str) -> NoReturn:
        saved = checkpoints(self.folder / "checkpoints")
        good = f"the last good checkpoint is {saved[-1].name}" if saved else "no checkpoint was written yet"
        advice = "optimizer.lr" if self.config.model.kind == "attrinet" else "baseline.lr"
        if self.config.run.precision != "fp32":
            advice += ", or run.precision=fp32"
        raise AttrinetError(f"{self.folder}: {what}; {good}. Start a new run (--out) with a lower {advice}")
