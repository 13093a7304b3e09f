"""What a run can say about itself: the one source of model cards, checklists and reports."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from attrinet.errors import AttrinetError
from attrinet.nets.weights import weights_hash


@dataclass(frozen=True)
class Facts:
    """title: of the run. kind: of the model ("Attri-Net"). parameters: without the critic. Empty mappings where a run
    does not say: config (of training, as config.yaml), training ("step", "best_auc"), store (meta.json), metrics
    (metrics.json). views: projection → images. names_patients: the data do; where they do not, every image counts as a
    patient of its own. shared_patients: in more than one split; None: not counted. own_store: the store is the one the
    model was trained on (of a run of an earlier version: by its path). phantoms: its images were drawn.
    thresholds_from: see folder.save_model."""

    title: str
    kind: str
    findings: tuple[str, ...]
    image_size: int
    parameters: int
    explains_itself: bool
    config: Mapping
    training: Mapping
    store: Mapping
    metrics: Mapping
    views: Mapping[str, int]
    names_patients: bool
    shared_patients: int | None
    own_store: bool
    phantoms: bool
    thresholds_from: str

    @property
    def guided(self) -> str:
        """Mode of guidance; none where its loss counts nothing."""
        losses = self.config.get("losses" if self.kind == "Attri-Net" else "baseline", {})
        return self.config.get("guidance", {}).get("mode", "none") if losses.get("guidance", 1) else "none"

    @property
    def units(self) -> str:
        """What was drawn for intervals."""
        return "patients" if self.names_patients else "images (the data name no patients)"

    @property
    def thresholds(self) -> str:
        """How the thresholds were chosen."""
        return {"validation": "chosen by Youden's index on the validation images",
                "": "given with the model, not chosen on validation images"}.get(
                    self.thresholds_from, "kept with the model; how they were chosen is not recorded")

    def judged(self) -> str:
        """How many images the metrics are of, and of how many patients."""
        images, patients = (f"{self.metrics[name]:,}" for name in ("images", "patients"))
        return f"{images} images of {patients} patients" if self.names_patients else f"{images} images"

    @property
    def limited(self) -> str:
        """How many images a finding the explanations were judged on at most; "" where on all."""
        limit = self.metrics.get("limit")
        return f"judged on at most {limit:,} images a finding" if limit else ""

    @property
    def rival(self) -> str:
        """Whose explanations the metrics judge, where it is not the model's own: "Grad-CAM, as published"; else ""."""
        judged = self.metrics.get("explainer", {})
        name = judged.get("name", self.kind)
        return "" if name == self.kind else name + (", as published" if judged.get("as_published") else "")


def gather(
    model, title: str, *, run: str | Path | None = None, store=None, metrics: Mapping | None = None
) -> Facts:
    """Facts of a model; run: its run folder or model folder, store: the Store it is judged on, metrics: metrics.json
    (left out: read from the run folder where they are there). Raises AttrinetError for a damaged file, and for metrics
    of other weights or thresholds."""
    folder = Path(run) if run is not None else None
    training = read_json(folder, "best/training.json", "training.json")
    config = training.pop("config", {})
    trained_on, data = config.get("data", {}).get("store"), training.pop("data", None)
    same = bool(trained_on) and store is not None and Path(trained_on).resolve() == store.path.resolve()
    if metrics is None:
        metrics = read_json(folder, "evaluation/metrics.json")
    if other := changed_since(metrics, model, weights_hash(model)):
        raise AttrinetError(f"{title}: its evaluation is of other {other} than the model has now; run attrinet "
                            "evaluate again")
    return Facts(
        title=title, kind=model.name, findings=tuple(model.findings), image_size=model.image_size,
        parameters=sum(p.numel() for name, p in model.named_parameters() if not name.startswith("critic.")),
        explains_itself=hasattr(model, "attribute"),
        config=config, training=training, store=store.meta if store else {},
        metrics=metrics,
        views=views(store) if store else {},
        names_patients=store.names_patients if store else metrics.get("patients_named", True),
        shared_patients=shared_patients(store) if store and store.names_patients else None,
        own_store=same if data is None or store is None else data == store.identity,
        phantoms=bool(store) and drawn(store.meta), thresholds_from=model.thresholds_from,
    )


def changed_since(metrics: Mapping, model, weights: str) -> str:
    """What a model, whose weights_hash is `weights`, was evaluated with and no longer has: "weights", "thresholds", or
    "" where all is as it was."""
    if metrics.get("weights", weights) != weights:
        return "weights"
    judged = {name: call["threshold"] for name, call in metrics.get("calls", {}).items() if "threshold" in call}
    now = dict(zip(model.findings, model.thresholds.tolist(), strict=True))
    return "thresholds" if any(np.float32(now.get(f, t)) != np.float32(t) for f, t in judged.items()) else ""


def read_json(folder: Path | None, *names: str) -> dict:
    """The first of these files that is there; {} where none is."""
    for path in [folder / name for name in names] if folder else []:
        if path.is_file():
            try:
                return json.loads(path.read_text())
            except (OSError, ValueError) as error:
                raise AttrinetError(f"{path}: damaged ({error})") from error
    return {}


def views(store) -> dict[str, int]:
    """Projection → images, "not stated" where the manifest has none."""
    counts = store.manifest["view"].astype("object").fillna("not stated").value_counts()
    return {str(view): int(count) for view, count in counts.items()}


def shared_patients(store) -> int:
    """Patients with images in more than one split."""
    return int((store.manifest.groupby("patient")["split"].nunique() > 1).sum())


def drawn(meta: Mapping) -> bool:
    """Whether a store holds phantoms, or phantoms with a tag as far as the store they were made of is still there."""
    if meta["adapter"] == "shortcut":
        meta = read_json(Path(meta["options"]["store"]), "meta.json")
    return meta.get("adapter") == "phantom"
