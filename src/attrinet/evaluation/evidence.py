"""Attribution maps of chosen images, each made once while memory allows, and what they cost."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from attrinet.data.store import Store
from attrinet.errors import AttrinetError
from attrinet.evaluation.kept import DEAR, KeptMap, KeptMaps
from attrinet.protocols import Explainer, ExplainsAllAtOnce

MEMORY = 1 << 30  # bytes of maps kept; what does not fit is made again


def device_of(model) -> torch.device:
    return getattr(model, "device", torch.device("cpu"))


class Evidence:
    """Maps of one explainer on one store. seconds, calls: spent on `explained` maps, those asked for. disk: where those
    that are dear are kept; what lies there already is taken from there, as if made now. An explainer that explains all
    findings at once does so once an image, and a map of it counts with its share of the seconds and of the cost."""

    def __init__(
        self, explainer: Explainer, store: Store, batch_size: int, memory: int = MEMORY, disk: KeptMaps | None = None
    ):
        cheap = explainer.cost < DEAR  # not where the cost is NaN: not known before the first map
        self.explainer, self.store, self.disk = explainer, store, None if cheap else disk
        self.batch_size = 1 if explainer.cost >= DEAR else batch_size  # a kill costs one map, of unknown cost a batch
        self.seconds, self.calls, self.explained = 0.0, 0.0, 0
        self._kept: dict[tuple[int, int], np.ndarray] = {}
        self._unasked: dict[tuple[int, int], KeptMap] = {}  # made with a map that was asked for
        self._room = memory // (4 * store.size**2)

    def maps(
        self, rows: np.ndarray, finding: int, bar: tqdm | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Batches of (rows, (B, H, W) float32), as the explainer gives them: positive is evidence for the finding.
        bar: moved on by every batch."""
        for start in range(0, len(rows), self.batch_size):
            chunk = rows[start : start + self.batch_size]
            found = {r: map for r in chunk.tolist() if (map := self._known(r, finding)) is not None}
            new = [r for r in dict.fromkeys(chunk.tolist()) if r not in found]
            made = dict(zip(new, self._explain(new, finding), strict=True)) if new else {}
            yield chunk, np.stack([(found | made)[r] for r in chunk.tolist()])
            if bar is not None:
                bar.update(len(chunk))

    def _known(self, row: int, finding: int) -> np.ndarray | None:
        if (row, finding) in self._kept:
            return self._kept[row, finding]
        kept = self._unasked.pop((row, finding), None) or (self.disk.read(row, finding) if self.disk else None)
        if kept is None:
            return None
        self._count(kept.seconds, kept.cost, 1)
        self._keep([row], finding, kept.map[None])
        return kept.map

    def _explain(self, rows: list[int], finding: int) -> np.ndarray:
        """(B, H, W). What comes along of other findings is kept until it is asked for."""
        images = self.store.batch(rows, device_of(self.explainer))
        findings, started = [finding], time.perf_counter()
        if isinstance(self.explainer, ExplainsAllAtOnce):
            findings, maps = [*range(len(self.store.findings))], self.explainer.attribute_all(images)
        else:
            maps = self.explainer.attribute(images, finding)[:, None]
        maps = maps.detach().float().cpu().numpy()  # (B, findings, H, W)
        want = (len(rows), len(findings), self.store.size, self.store.size)
        if maps.shape != want:
            raise AttrinetError(f"{self.explainer.name}: gave maps of shape {(maps.shape[0], *maps.shape[2:])} for "
                                f"{len(rows)} images; want {(want[0], *want[2:])}")
        if not np.isfinite(maps).all():
            raise AttrinetError(f"{self.explainer.name}: gave a map with NaN or infinite values, among those of "
                                f"{self.store.ids[rows[0]]!r} and {self.store.findings[finding]}")
        seconds = (time.perf_counter() - started) / len(rows) / len(findings)
        cost = self.explainer.cost / len(findings)
        for row, of_row in zip(rows, maps, strict=True):
            for other, map in zip(findings, of_row, strict=True):
                if self.disk:
                    self.disk.keep(row, other, KeptMap(map, seconds, cost))
                if other != finding and len(self._kept) + len(self._unasked) < self._room:
                    # not a view that holds on to its batch
                    self._unasked[row, other] = KeptMap(map.copy(), seconds, cost)
        asked = maps[:, findings.index(finding)]
        self._count(seconds * len(rows), cost * len(rows), len(rows))
        self._keep(rows, finding, asked)
        return asked

    def _keep(self, rows: list[int], finding: int, maps: np.ndarray) -> None:
        for row, map in zip(rows, maps, strict=True):
            if len(self._kept) < self._room:
                self._kept[row, finding] = map.copy()  # not a view that holds on to its batch

    def _count(self, seconds: float, calls: float, explained: int) -> None:
        self.seconds += seconds
        self.calls += calls
        self.explained += explained

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
        count = maps.shape[0] * maps.shape[1]
        self._count(time.perf_counter() - started, count * self.explainer.cost, count)
        for c in range(maps.shape[1]):
            self._keep(rows.tolist(), c, maps[:, c])
        return out.logits

    def section(self) -> dict:
        """metrics["explainer"]: cost in model calls and seconds, of one image and finding."""
        return {"name": self.explainer.name,
                "cost": self.calls / self.explained if self.explained else self.explainer.cost,
                "seconds_per_image": self.seconds / self.explained if self.explained else float("nan"),
                "explained": self.explained}
