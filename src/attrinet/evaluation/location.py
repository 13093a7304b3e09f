"""Does the evidence lie on the annotated lesions? Disease sensitivity, pointing game, intersection over union."""

from __future__ import annotations

import numpy as np
import pandas as pd
from tqdm import tqdm

from attrinet.evaluation.evidence import Evidence
from attrinet.evaluation.intervals import by_finding
from attrinet.evaluation.scope import Scope
from attrinet.metrics.disease_sensitivity import disease_sensitivity
from attrinet.metrics.intervals import Interval
from attrinet.metrics.iou import best_threshold, ious
from attrinet.metrics.pointing_game import pointing_game

LOCALISATION = ["id", "patient", "finding", "called", "inside", "inside_published", "area", "hit", "iou"]
TUNED_ON = 200  # images a finding, at most, that choose the IoU threshold
HALF = 0.5  # IoU threshold where no other image is annotated
SHOWN = "area of maps that are not blank"  # what enrichment divides by


def localise(scope: Scope, evidence: Evidence, progress: bool) -> tuple[pd.DataFrame, dict[str, dict]]:
    """localisation.parquet: one row an image that is positive for an annotated finding; and finding → the IoU threshold
    and the split it was chosen on."""
    store, parts, thresholds = scope.store, [], {}
    chosen = [scope.sample(scope.annotated(scope.rows, c), scope.limit) for c in range(len(store.findings))]
    with tqdm(total=sum(map(len, chosen)), desc="locating evidence", unit="image", disable=not progress) as bar:
        for c, name in enumerate(store.findings):
            if len(chosen[c]):
                thresholds[name] = iou_threshold(scope, evidence, c, bar)
                parts += [_located(scope, c, chunk, maps, thresholds[name]["iou_threshold"])
                          for chunk, maps in evidence.maps(chosen[c], c, bar)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=LOCALISATION), thresholds


def _located(scope: Scope, finding: int, rows: np.ndarray, maps: np.ndarray, threshold: float) -> pd.DataFrame:
    store = scope.store
    masks = np.stack([store.mask(r, finding) for r in rows])
    ours, theirs = (disease_sensitivity(maps, masks, published) for published in (False, True))
    return pd.DataFrame({
        "id": store.ids[rows], "patient": store.patients[rows], "finding": store.findings[finding],
        "called": scope.called[scope.places(store.ids[rows]), finding],
        "inside": ours.inside, "inside_published": theirs.inside, "area": ours.area,
        "hit": pointing_game(maps, masks), "iou": ious(maps, masks, np.array([threshold]))[:, 0],
    })


def iou_threshold(scope: Scope, evidence: Evidence, finding: int, bar: tqdm) -> dict:
    """The share of a map's maximum with the best mean IoU on annotated validation images; on training images where no
    validation image is annotated; half where none is. Never on an image that is judged."""
    for split in ("valid", "train"):
        others = np.setdiff1d(scope.store.split(split), scope.rows)
        rows = scope.sample(scope.annotated(others, finding), min(TUNED_ON, scope.limit or TUNED_ON))
        bar.total += len(rows)
        values = [ious(maps, np.stack([scope.store.mask(r, finding) for r in chunk]))
                  for chunk, maps in evidence.maps(rows, finding, bar)]
        threshold = best_threshold(np.concatenate(values)) if values else float("nan")
        if not np.isnan(threshold):
            return {"iou_threshold": threshold, "iou_threshold_from": split}
    return {"iou_threshold": HALF, "iou_threshold_from": None}


def disease_section(scope: Scope, table: pd.DataFrame) -> dict:
    """Averages over the images of a finding, then over findings (§4.2.2), with intervals over patients.

    true_positives: only images the model calls; enrichment there is the mean share of evidence inside the annotation
    over the mean share of the image that is annotated, both of the maps that are not blank. inside_published: maps
    scaled by minimum and maximum, blank ones 0.
    """
    out: dict = {"annotated": len(table), "blank": int(table["inside"].isna().sum())}
    for subset, part in (("all", table), ("true_positives", table[table["called"].astype(bool)])):
        part = part.assign(**{SHOWN: part["area"].where(part["inside"].notna())})
        found = by_finding(scope, part, ["inside", "inside_published", "area", SHOWN],
                           lambda m: m[..., :1] / m[..., 3:])
        out[subset] = {
            name: {"images": len(part) if name == "mean" else int((part["finding"] == name).sum()),
                   **{("enrichment" if key == "+0" else key): value for key, value in values.items() if key != SHOWN}}
            for name, values in found.items()
        }
    return out


def location_section(scope: Scope, table: pd.DataFrame, thresholds: dict[str, dict]) -> dict:
    """Pointing game and IoU on all annotated images, as CheXlocalize: finding → both, the threshold of the latter,
    and how many blank maps have neither."""
    out: dict[str, dict[str, Interval | float | int | str | None]] = {}
    for name, values in by_finding(scope, table, ["hit", "iou"]).items():
        own = table if name == "mean" else table[table["finding"] == name]
        out[name] = {"pointing_game": values["hit"], "iou": values["iou"], **thresholds.get(name, {}),
                     "images": len(own), "blank": int(own["hit"].isna().sum())}
    return out
