"""What the figures of `attrinet compare` are drawn from: methods, their models, and images chosen by rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from attrinet.data.store import Store
from attrinet.errors import AttrinetError
from attrinet.evaluations import OWN
from attrinet.report.compare_runs import Judged, Method, findings_of, models

MAIN = "Cardiomegaly"  # the finding of the paper's figures 7 and 12
CHOICE = ("Of the images with the finding that every model shown calls (of all with the finding, where there is none "
          "such), the one with the highest mean probability is shown")


@dataclass(frozen=True)
class Scene:
    """Methods judged on the same images, and how to get at what they were judged with.

    load: evaluation → its model (findings, thresholds, device) and the explainer that was judged. masks: evaluation,
    store, mode of guidance → (C, H, W), masks from the training annotations, by the run's settings. dataset: the
    paper's that the images are of, or None.
    """

    methods: Sequence[Method]
    store: Store
    load: Callable[[Judged], tuple]
    masks: Callable[[Judged, Store, str], np.ndarray]
    dataset: str | None

    @property
    def findings(self) -> list[str]:
        return findings_of(self.methods)

    def common(self, methods: Sequence[Method]) -> list[str]:
        """The findings that all of these know, the paper's example first. Raises AttrinetError where there is none."""
        findings = [f for f in self.findings if all(f in m.first.findings for m in methods)]
        if not findings:
            raise AttrinetError("needs runs that share a finding")
        return sorted(findings, key=lambda f: f != MAIN)

    def attrinets(self) -> list[Method]:
        return [m for m in self.methods if m.first.kind == "attrinet" and m.first.explainer == OWN]

    def attrinet(self, *modes: str, need: str) -> Method:
        """The first Attri-Net with all its losses of the first of these modes of guidance; AttrinetError if none."""
        for mode in modes:
            for method in self.attrinets():
                if method.first.mode == mode and not method.first.ablated:
                    return method
        raise AttrinetError(f"needs {need}")

    @cached_property
    def rows(self) -> dict[str, int]:
        """Image id → its row in the store."""
        return {id: row for row, id in enumerate(self.store.ids)}

    def image(self, row: int) -> np.ndarray:
        """(H, W) in [-1, 1]"""
        return self.store.batch([row])[0, 0].numpy()

    def known(self, row: int, finding: str) -> np.ndarray | None:
        return self.store.mask(row, self.store.findings.index(finding))

    def evidence(self, method: Method, row: int, finding: str) -> np.ndarray:
        """(H, W) positive attribution of the method's first seed."""
        model, explainer = self.load(method.first)
        images = self.store.batch([row], getattr(explainer, "device", "cpu"))
        maps = explainer.attribute(images, model.findings.index(finding))
        return maps[0].detach().clamp(min=0).float().cpu().numpy()

    def explained(self, method: Method, row: int):
        """attrinet.nets.attrinet.Explanation of one image, by an Attri-Net."""
        model, _ = self.load(method.first)
        return model.explain(self.store.batch([row], model.device))

    def verdict(self, method: Method, id: str, finding: str) -> tuple[float, float, bool]:
        """probability, threshold, and whether the call is wrong; from the evaluation."""
        table = method.first.predictions
        one = table[(table["id"] == id) & (table["finding"] == finding)].iloc[0]
        wrong = not pd.isna(one["label"]) and bool(one["called"]) != bool(one["label"])
        return float(one["probability"]), method.first.metrics["calls"][finding]["threshold"], wrong

    def choose(
        self, methods: Sequence[Method], finding: str, present: bool = True, *, annotated: bool = False,
        besides: Sequence[str] = (),
    ) -> str | None:
        """Id of the image that these methods are surest of together, right about it if any is; None without images.

        present: with the finding and the highest mean probability, or without it and the lowest. annotated: only
        images with a known lesion. besides: images not to take.
        """
        all_of = [m.first.predictions for m in models(methods)]  # not once an explainer of the same model
        tables = [t[t["finding"] == finding].set_index("id") for t in all_of]
        table = tables[0]
        wanted = table["label"].eq(int(present)).fillna(False).to_numpy(bool) & ~table.index.isin(list(besides))
        if annotated:
            wanted[wanted] = [self.known(self.rows[id], finding) is not None for id in table.index[wanted]]
        together = pd.concat([t["probability"] for t in tables], axis=1).loc[table.index].mean(axis=1)
        right = pd.concat([t["called"] == present for t in tables], axis=1).loc[table.index].all(axis=1).to_numpy(bool)
        pool = together[wanted & right] if (wanted & right).any() else together[wanted]
        if pool.empty:
            return None
        return min(pool.index, key=lambda id: (-pool[id] if present else pool[id], id))
