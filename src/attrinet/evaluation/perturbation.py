"""Faithfulness: does the decision hang on the evidence, and does the evidence add up to it?"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from scipy.special import expit
from torch import Tensor
from tqdm import tqdm

from attrinet.evaluation.evidence import Evidence, device_of
from attrinet.evaluation.intervals import by_finding
from attrinet.evaluation.scope import Scope
from attrinet.metrics.completeness import FEWEST_FOR_INTERVAL, sum_predicts_logit
from attrinet.metrics.deletion import BLUR, SHARES, area, deleted, inserted, ranks
from attrinet.protocols import Classifier

FLIP_AT = 0.1  # share of the pixels that is deleted to see whether the call falls
PERTURBATION = ["id", "patient", "finding", "called", "logit", "sum", "deletion", "insertion", "flips"]  # columns


def perturb(scope: Scope, evidence: Evidence, model: Classifier, count: int, progress: bool) -> pd.DataFrame:
    """perturbation.parquet: at most `count` called images a finding, and as many that are not called.

    logit, sum: of the map, with its negative part. deletion, insertion: areas under the curves; flips: 1 where the call
    falls when the strongest tenth of the pixels is greyed; these three only for called images whose map has positive
    evidence, NaN for the others.
    """
    count = min(count, scope.limit or count)
    store, parts = scope.store, []
    chosen = [(c, called, scope.sample(scope.rows[scope.called[:, c] == called], count))
              for c in range(len(store.findings)) for called in (True, False)]
    with tqdm(total=sum(len(rows) for *_, rows in chosen), desc="perturbing", unit="image",
              disable=not progress) as bar:
        for c, called, rows in chosen:
            for chunk, maps in evidence.maps(rows, c, bar):
                images = store.batch(chunk)
                part = {"id": store.ids[chunk], "patient": store.patients[chunk], "finding": store.findings[c],
                        "called": called, "logit": logits_of(model, images, c),
                        "sum": maps.sum((1, 2), dtype=np.float64),
                        "deletion": np.nan, "insertion": np.nan, "flips": np.nan}
                told = called & (maps > 0).any((1, 2))
                if told.any():
                    found = follow(scope, model, images[told, 0].numpy(), maps[told], chunk[told], c)
                    part |= {name: spread(values, told) for name, values in found.items()}
                parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=PERTURBATION)


def spread(values: np.ndarray, told: np.ndarray) -> np.ndarray:
    """The values at the places that are told, NaN at the others."""
    out = np.full(len(told), np.nan)
    out[told] = values
    return out


def follow(
    scope: Scope, model: Classifier, images: np.ndarray, maps: np.ndarray, rows: np.ndarray, finding: int
) -> dict[str, np.ndarray]:
    """deletion, insertion and flips of images and maps (B, H, W)."""
    curves: dict[str, list[np.ndarray]] = {"deletion": [], "insertion": []}
    for image, map, row in zip(images, maps, rows, strict=True):
        rank = ranks(map, np.random.default_rng([scope.seed, finding, int(row)]))
        for kind, frames in (("deletion", deleted(image, rank)), ("insertion", inserted(image, rank))):
            logits = logits_of(model, torch.from_numpy(frames)[:, None], finding)
            curves[kind].append(expit(logits))
    deletion, insertion = (np.stack(curve) for curve in curves.values())  # (B, shares)
    flips = deletion[:, SHARES.index(FLIP_AT)].astype(np.float32) < scope.thresholds[finding].astype(np.float32)
    return {"deletion": area(deletion), "insertion": area(insertion), "flips": flips.astype(float)}


@torch.no_grad()
def logits_of(model: Classifier, images: Tensor, finding: int) -> np.ndarray:
    """(B,) float64 logits of one finding. A model that can answer for one finding alone (Attri-Net) is asked so."""
    images = images.to(device_of(model))
    alone = getattr(model, "finding_logits", None)
    logits = alone(images, finding) if alone else model.logits(images)[:, finding]
    return logits.double().cpu().numpy()


def perturbation_sections(scope: Scope, table: pd.DataFrame) -> dict:
    """deletion and insertion (area, of finding and mean), and faithfulness; blank: called images whose map has no
    positive evidence, which deletion, insertion and flips leave out."""
    found = by_finding(scope, table, ["deletion", "insertion", "flips"])
    sums = sum_intervals(scope, table)
    faithfulness = {}
    for name, values in found.items():
        own = table if name == "mean" else table[table["finding"] == name]
        faithfulness[name] = {"sum_predicts_logit": sums[name], "flips": values["flips"], "images": len(own),
                              "called": int(own["called"].sum()),
                              "blank": int((own["called"].astype(bool) & own["flips"].isna()).sum())}
    return {
        "deletion": {name: values["deletion"] for name, values in found.items()},
        "insertion": {name: values["insertion"] for name, values in found.items()},
        "faithfulness": faithfulness,
        "perturbation": {"shares": list(SHARES), "flip_share": FLIP_AT, "blur": BLUR},
    }


def sum_intervals(scope: Scope, table: pd.DataFrame) -> dict[str, dict]:
    """finding, and "mean" → r2 and residual of the logit by the sum of the map."""
    names = [f for f in scope.store.findings if (table["finding"] == f).any()]
    if not names:
        return {}
    rows, at = [np.flatnonzero(table["finding"] == name) for name in names], scope.places(table["id"])
    sums, logits = (table[column].to_numpy(float) for column in ("sum", "logit"))

    def statistic(w):
        each = [sum_predicts_logit(sums[own], logits[own], w[:, at[own]]) for own in rows]  # (K, 2, D)
        return np.array(each).transpose(2, 0, 1)

    lone = np.array([[len(own) < FEWEST_FOR_INTERVAL or scope.bootstrap.lone(at[own])] * 2 for own in rows])
    found = scope.bootstrap.with_mean(statistic, lone)
    return {name: {"r2": r2, "residual": residual}
            for name, (r2, residual) in zip([*names, "mean"], found, strict=True)}
