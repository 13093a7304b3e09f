"""Attribution maps of chosen images, each made once while memory allows, and what they cost."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from attrinet.data.store import Store
from attrinet.protocols import Explainer

MEMORY = 1 << 30  # bytes of maps kept; what does not fit is made again


def device_of(model) -> torch.device:
    return getattr(model, "device", torch.device("cpu"))


class Evidence:
    """Maps of one explainer on one store. seconds: spent on `explained` maps."""

    def __init__(self, explainer: Explainer, store: Store, batch_size: int, memory: int = MEMORY):
        self.explainer, self.store, self.batch_size = explainer, store, batch_size
        self.seconds, self.explained = 0.0, 0
        self._kept: dict[tuple[int, int], np.ndarray] = {}
        self._room = memory // (4 * store.size**2)

    def maps(self, rows: np.ndarray, finding: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Batches of (rows, (B, H, W) float32), as the explainer gives them: positive is evidence for the finding."""
        for start in range(0, len(rows), self.batch_size):
            chunk = rows[start : start + self.batch_size]
            new = [r for r in dict.fromkeys(chunk.tolist()) if (r, finding) not in self._kept]
            made = dict(zip(new, self._explain(new, finding), strict=True)) if new else {}
            yield chunk, np.stack([made[r] if r in made else self._kept[r, finding] for r in chunk.tolist()])

    def _explain(self, rows: list[int], finding: int) -> np.ndarray:
        images = self.store.batch(rows, device_of(self.explainer))
        started = time.perf_counter()
        maps = self.explainer.attribute(images, finding).detach().float().cpu().numpy()
        self._count(time.perf_counter() - started, len(rows))
        self._keep(rows, finding, maps)
        return maps

    def _keep(self, rows: list[int], finding: int, maps: np.ndarray) -> None:
        for row, map in zip(rows, maps, strict=True):
            if len(self._kept) < self._room:
                self._kept[row, finding] = map.copy()  # not a view that holds on to its batch

    def _count(self, seconds: float, explained: int) -> None:
        self.seconds, self.explained = self.seconds + seconds, self.explained + explained

    # ---- a model that explains as it predicts

    def comes_with_predictions(self, model, count: int) -> bool:
        """Whether explaining `count` images for every finding costs no more than predicting them, and fits."""
        return (model is self.explainer and model.cost <= 1 and hasattr(model, "explain")
                and count * len(model.findings) <= self._room)

    def predicted(self, rows: np.ndarray) -> Tensor:
        """Logits (B, C) of these rows, whose maps are kept."""
        images = self.store.batch(rows, device_of(self.explainer))
        started = time.perf_counter()
        out = self.explainer.explain(images)
        maps = out.contributions.float().cpu().numpy()
        self._count(time.perf_counter() - started, maps.shape[0] * maps.shape[1])
        for c in range(maps.shape[1]):
            self._keep(rows.tolist(), c, maps[:, c])
        return out.logits

    def section(self) -> dict:
        """metrics["explainer"]: cost in model calls and seconds, of one image and finding."""
        return {"name": self.explainer.name, "cost": self.explainer.cost,
                "seconds_per_image": self.seconds / self.explained if self.explained else float("nan"),
                "explained": self.explained}
