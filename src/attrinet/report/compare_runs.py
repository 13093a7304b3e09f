"""What `attrinet compare` compares: evaluations read from run folders, seeds of one method put together."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from attrinet.errors import AttrinetError
from attrinet.evaluations import AS_PUBLISHED, OWN, folder_name

TRAINED_ON = "data"  # setting: what the training store holds; its path where a run does not know
SAME_METHOD = ("run.seed", "data.store")  # may differ between runs of one method
LOSSES = ("adversarial", "l1", "center", "guidance")  # what Table 4 adds to the classification loss, in its order
LOSS_SETS = {  # row of Table 4 → which of LOSSES it has
    "cls": (False, False, False, False),
    "cls-adv": (True, False, False, False),
    "cls-adv-reg": (True, True, False, False),
    "cls-adv-reg-ctr": (True, True, True, False),
    "all": (True, True, True, True),
}


@dataclass(frozen=True)
class Test:
    """What was evaluated on: two evaluations can be compared where this is the same."""

    checksum: str
    split: str
    where: tuple[str, ...]
    truth: str | None  # None in evaluations of an earlier version


@dataclass(frozen=True, eq=False)
class Judged:
    """One evaluation of one run.

    settings: dotted option → value, complete; unusual: those of them that are not the paper's. explainer: OWN, or the
    name of a post-hoc explainer, with AS_PUBLISHED behind it where it was set up so. metrics: of metrics.json.
    """

    run: Path
    folder: Path
    settings: Mapping[str, object]
    unusual: Mapping[str, object]
    explainer: str
    metrics: dict

    @property
    def seed(self) -> int:
        return self.settings["run.seed"]

    @property
    def kind(self) -> str:
        return self.settings["model.kind"]

    @property
    def test(self) -> Test:
        m = self.metrics
        return Test(m["store_checksum"], m["split"], tuple(m["where"]), m.get("truth_checksum"))

    @property
    def findings(self) -> list[str]:
        return [name for name in self.metrics["auc"] if name != "mean"]

    @cached_property
    def predictions(self) -> pd.DataFrame:
        return self._table("predictions")

    @cached_property
    def localisation(self) -> pd.DataFrame:
        return self._table("localisation")

    @cached_property
    def grids(self) -> pd.DataFrame | None:
        """None where the evaluation was written before there was such a table."""
        return self._table("grids") if (self.folder / "grids.parquet").exists() else None

    def _table(self, name: str) -> pd.DataFrame:
        path = self.folder / f"{name}.parquet"
        try:
            return pd.read_parquet(path)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise AttrinetError(f"{path}: cannot be read ({reason}); run attrinet evaluate again") from error

    @property
    def mode(self) -> str:
        """The guidance the model was trained with; none where its loss counts nothing."""
        weight = "losses.guidance" if self.kind == "attrinet" else "baseline.guidance"
        return self.settings["guidance.mode"] if self.settings[weight] else "none"

    @property
    def loss_set(self) -> str | None:
        """Row of Table 4; None for other models and other sets of losses."""
        if self.kind != "attrinet" or self.unlike_the_paper or not self.settings["losses.classification"]:
            return None
        has = tuple(self.mode != "none" if name == "guidance" else bool(self.settings[f"losses.{name}"])
                    for name in LOSSES)
        return next((row for row, losses in LOSS_SETS.items() if losses == has), None)

    @property
    def ablated(self) -> bool:
        """Whether a loss that the model should have is left out: of interest to Table 4 alone."""
        return bool(self.left_out)

    @property
    def left_out(self) -> list[str]:
        """The losses of the paper's Attri-Net, but for guidance, that the model was trained without."""
        return [n for n in ("classification", *LOSSES[:3])
                if self.kind == "attrinet" and not self.settings[f"losses.{n}"]]

    @property
    def explained(self) -> bool:
        return "class_sensitivity" in self.metrics

    @property
    def model_row(self) -> str:
        """The row of Tables 2 and 5 (published.csv), or what is none, of networks that the paper does not have."""
        if self.kind == "backbone":
            return f"backbone {self.settings['model.backbone']}"
        if self.kind == "resnet50":
            row = "resnet50"
        elif self.kind == "bcos_resnet50":
            row = "bcos" if self.mode == "none" else "bcos-guided"
        else:
            row = "attrinet" if self.mode == "none" else f"attrinet-{self.mode}"
        return row + "".join(f", {key}={self.settings[key]}" for key in self.unlike_the_paper)

    @property
    def unlike_the_paper(self) -> list[str]:
        """Options of the network that make it another than the paper's."""
        own = {"model.output": "tanh"} if self.kind == "attrinet" else {"model.depth": 50}
        return [key for key, value in own.items() if self.settings[key] != value]

    @property
    def row(self) -> str:
        """The row of Tables 3, 7 and 8: in the paper, post-hoc methods explain the ResNet50."""
        if self.explainer == OWN:
            return self.model_row
        name = self.explainer.removesuffix(AS_PUBLISHED)
        return name if self.model_row == "resnet50" else f"{name} of {self.model_row}"

    @property
    def model_name(self) -> str:
        depth = self.settings["model.depth"]
        name = {"attrinet": "Attri-Net", "resnet50": f"ResNet{depth}", "bcos_resnet50": f"B-cos ResNet{depth}",
                "backbone": f"MONAI {self.settings['model.backbone']}"}
        guided = f", guidance {self.mode}" if self.mode != "none" else ""
        lost = f", without {' and '.join(self.left_out)} loss" if self.ablated else ""
        return name[self.kind] + guided + lost

    @property
    def name(self) -> str:
        if self.explainer == OWN:
            return self.model_name
        name = self.metrics["explainer"]["name"]
        setup = " as published" if self.explainer.endswith(AS_PUBLISHED) and "publish" not in name else ""
        return f"{name}{setup} of {self.model_name}"


@dataclass(frozen=True, eq=False)
class Method:
    """One way to predict and explain, trained with one or more seeds. name: as in tables; no two are the same."""

    name: str
    seeds: tuple[Judged, ...]

    @property
    def first(self) -> Judged:
        return self.seeds[0]


def read_run(run: Path, settings: Mapping, unusual: Mapping, explainers: Sequence[str]) -> list[Judged]:
    """All evaluations of a run folder: RUN/evaluation, and RUN/evaluation-NAME of every one of `explainers`.

    Raises AttrinetError where there is none, or one is damaged.
    """
    names = [OWN, *(name + suffix for name in explainers for suffix in ("", AS_PUBLISHED))]
    out = []
    for name in names:
        folder = run / folder_name(name)
        if folder.is_dir():
            out.append(Judged(run, folder, settings, unusual, name, read_metrics(folder / "metrics.json")))
    if not out:
        raise AttrinetError(f"{run}: not evaluated yet; run attrinet evaluate {run} first")
    return out


def read_metrics(path: Path) -> dict:
    try:
        metrics = json.loads(path.read_text())
        missing = [key for key in ("auc", "store", "store_checksum", "split", "where") if key not in metrics]
    except (OSError, ValueError, TypeError) as error:
        raise AttrinetError(f"{path}: no usable evaluation ({error}); run attrinet evaluate again") from error
    if missing:
        raise AttrinetError(f"{path}: lacks {missing[0]!r}, so it is of an older version; run attrinet evaluate again")
    return metrics


def methods_by_test(evaluations: Sequence[Judged]) -> dict[Test, list[Method]]:
    """Evaluations that differ only in the seed as one method, methods judged on the same images together.

    Raises AttrinetError for two runs of one method with the same seed: they would pass for two seeds.
    """
    groups: dict[tuple, list[Judged]] = defaultdict(list)
    for one in evaluations:
        same = {key: value for key, value in one.settings.items() if key not in SAME_METHOD}
        groups[one.test, one.explainer, json.dumps(same, sort_keys=True)].append(one)
    out: dict[Test, list[tuple[Judged, ...]]] = defaultdict(list)
    for (test, *_), group in groups.items():
        seeds: dict[int, Judged] = {}
        for one in group:
            if one.seed in seeds:
                raise AttrinetError(f"{one.run}: has the settings and the seed {one.seed} of {seeds[one.seed].run}; "
                                    "compare only one of them")
            seeds[one.seed] = one
        out[test].append(tuple(seeds[seed] for seed in sorted(seeds)))
    return {test: named(members) for test, members in out.items()}


def named(groups: Sequence[tuple[Judged, ...]]) -> list[Method]:
    """Methods under names of their own: where two would share one, the settings that differ are added."""
    by_name = defaultdict(list)
    for group in groups:
        by_name[group[0].name].append(group)
    out = []
    for group in groups:
        name, rivals = group[0].name, [g[0].settings for g in by_name[group[0].name]]
        differ = [key for key in rivals[0] if key not in SAME_METHOD and any(r[key] != rivals[0][key] for r in rivals)]
        own = ", ".join(setting(group[0].settings, key) for key in differ)
        out.append(Method(f"{name} ({own})" if own else name, group))
    return out


def setting(settings: Mapping, key: str) -> str:
    if key == TRAINED_ON:  # two stores can have one path, one after the other
        digest = hashlib.blake2b(settings[key].encode(), digest_size=3).hexdigest()
        return f"data.store={settings['data.store']} {digest}"
    return f"{key}={settings[key]}"


def models(methods: Sequence[Method]) -> list[Method]:
    """One method a model, for what does not depend on the explainer: its own evaluation, else any."""
    chosen: dict[tuple, Method] = {}
    for method in sorted(methods, key=lambda m: m.first.explainer != OWN):
        key = tuple(sorted(str(one.run) for one in method.seeds))
        if not any(set(key) & set(other) for other in chosen):
            chosen[key] = method
    return [m for m in methods if m in chosen.values()]


def findings_of(methods: Sequence[Method]) -> list[str]:
    """Every finding that a method knows, in the order they come."""
    return list(dict.fromkeys(name for m in methods for name in m.first.findings))
