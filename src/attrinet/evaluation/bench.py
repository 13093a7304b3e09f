"""The whole evaluation: predictions first, then everything that judges explanations, on maps made once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from torch import nn

from attrinet.data.store import Store
from attrinet.errors import AttrinetError
from attrinet.evaluation.confounder import confounder_section, fixed_tag
from attrinet.evaluation.evidence import Evidence
from attrinet.evaluation.grids import GRIDS, class_sections, grid_table
from attrinet.evaluation.intervals import jsonable
from attrinet.evaluation.kept import KeptMaps
from attrinet.evaluation.location import LOCALISATION, disease_section, localise, location_section
from attrinet.evaluation.perturbation import PERTURBATION, perturb, perturbation_sections
from attrinet.evaluation.predictions import fitting, predict, prediction_sections, prediction_table
from attrinet.evaluation.randomisation import randomisation_section
from attrinet.evaluation.scope import Scope
from attrinet.files import write_atomically, write_json
from attrinet.metrics.intervals import Bootstrap
from attrinet.modes import evaluated
from attrinet.protocols import Classifier, Explainer

PERTURBED = 25  # images a finding whose evidence is deleted and inserted: a dozen predictions each


def _empty(columns: list[str]) -> Callable[[], pd.DataFrame]:
    return lambda: pd.DataFrame(columns=columns)


@dataclass(frozen=True)
class Evaluation:
    """metrics: summary, intervals as Interval. Tables, one row each: predictions an (image, finding) with its label,
    probability and call; localisation an annotated (image, finding); grids a 2×2 grid; perturbation a perturbed (image,
    finding). Without an explainer the last three are empty."""

    metrics: dict
    predictions: pd.DataFrame
    localisation: pd.DataFrame = field(default_factory=_empty(LOCALISATION))
    grids: pd.DataFrame = field(default_factory=_empty(GRIDS))
    perturbation: pd.DataFrame = field(default_factory=_empty(PERTURBATION))

    def save(self, folder: str | Path) -> None:
        """metrics.json, and every table as NAME.parquet."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("predictions", "localisation", "grids", "perturbation"):
            write_atomically(folder / f"{name}.parquet", partial(getattr(self, name).to_parquet, index=False))
        write_json(folder / "metrics.json", jsonable(self.metrics))


def evaluate(
    model: Classifier, explainer: Explainer | None, store: Store, rows: np.ndarray, thresholds: Mapping[str, float], *,
    draws: int = 1000, grids: int = 200, perturbed: int = PERTURBED, limit: int | None = None, seed: int = 0,
    rebuild: Callable[[nn.Module], Explainer] | None = None, batch_size: int = 16, progress: bool = True,
    disk: KeptMaps | None = None,
) -> Evaluation:
    """Evaluate on the images `rows` of the store, none dropped.

    explainer: None leaves out what judges explanations. thresholds: finding → probability that calls it. draws:
    bootstrap draws over patients. grids: 2×2 grids a finding for class sensitivity. perturbed: called images a finding
    for deletion and insertion. limit: images a finding, drawn from `seed`, that each judgement of explanations looks at
    (perturbation: so many that are called, and so many that are not); None: all. rebuild: the explainer of a model with
    other weights, for the randomisation check, which is left out without it; a model that explains itself needs none.
    disk: where maps of an explainer that takes many predictions for one (kept.DEAR) stay until the caller removes them,
    so that an evaluation that was killed goes on with them.
    A module is judged in evaluation mode. Raises AttrinetError for rows or thresholds that are none, for findings or an
    image size that are not the store's, and for predictions and maps of another shape or that are no numbers.
    """
    store, rows = fitting(store, model), np.asarray(rows)
    if len(rows) == 0:
        raise AttrinetError(f"{store.path}: no image to evaluate on; choose another --split or --where")
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or len(np.unique(rows)) < len(rows):
        raise AttrinetError(f"rows: want different row numbers of {store.path}, as store.split('test') gives them")
    wrong = [name for name in store.findings if not 0 <= thresholds.get(name, -1) <= 1]
    if wrong:
        raise AttrinetError(f"thresholds: has no probability, 0 to 1, for {wrong[0]!r}")
    with evaluated(model):
        evidence = None if explainer is None else Evidence(explainer, store, batch_size, disk=disk)
        probabilities = predict(model, store, rows, batch_size, progress, evidence)
        scope = Scope(store, rows, probabilities, np.array([thresholds[name] for name in store.findings]),
                      Bootstrap(store.patients[rows], draws, seed), seed, limit)
        metrics = {"images": len(rows), "patients": len(set(store.patients[rows])), "draws": draws, "seed": seed,
                   "limit": limit, **prediction_sections(scope)}
        tables = {"predictions": prediction_table(scope)}
        if evidence is not None:
            tables["grids"] = grid_table(scope, evidence, grids, progress)
            metrics |= class_sections(scope, tables["grids"])
            tables["localisation"], iou_thresholds = localise(scope, evidence, progress)
            metrics["disease_sensitivity"] = disease_section(scope, tables["localisation"])
            metrics["localisation"] = location_section(scope, tables["localisation"], iou_thresholds)
            tables["perturbation"] = perturb(scope, evidence, model, perturbed, progress)
            metrics |= perturbation_sections(scope, tables["perturbation"])
            if rebuild is None and explainer is model and isinstance(model, nn.Module):
                rebuild = _itself
            if rebuild is not None:
                metrics["randomisation"] = randomisation_section(scope, evidence, model, rebuild, progress)
        tag = fixed_tag(store)
        if tag is not None:
            metrics["confounder"] = confounder_section(scope, evidence, model, tag)
        if evidence is not None:
            metrics["explainer"] = evidence.section()
        return Evaluation(metrics, **tables)


def _itself(model: nn.Module) -> Explainer:
    return model
