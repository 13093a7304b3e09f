"""How much of the evidence lies on a tag that was drawn into the store (§4.5)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from attrinet.data.shortcut import tag_rows, tagged_with
from attrinet.data.store import Store
from attrinet.evaluation.evidence import Evidence
from attrinet.evaluation.intervals import by_finding
from attrinet.evaluation.scope import Scope
from attrinet.metrics.confounder_sensitivity import confounder_sensitivity
from attrinet.metrics.disease_sensitivity import disease_sensitivity
from attrinet.protocols import Classifier


def fixed_tag(store: Store) -> np.ndarray | None:
    """(size, size) bool: the tag's pixels, where it is at the same place in every image that has it; else None."""
    tag = tagged_with(store)
    return tag.mask(store.size, 0) if tag is not None and tag.fixed else None


def center_section(model: Classifier, tag: np.ndarray) -> dict[str, float]:
    """Confounder sensitivity of every finding's positive centre; {} for a model without centres."""
    explanation = getattr(model, "global_explanation", None)
    if explanation is None:
        return {}
    centers = explanation().positive_center.cpu().numpy()
    return {name: confounder_sensitivity(centers[c], tag) for c, name in enumerate(model.findings)}


def confounder_section(scope: Scope, evidence: Evidence | None, model: Classifier, tag: np.ndarray) -> dict:
    """centres: see center_section. local: of the maps of tagged images for the finding the tag gives away, the share of
    the tag's pixels among the strongest tenth (sensitivity) and of the evidence on the tag (inside); a blank map has
    neither, and is counted. chance: both of a map that knows nothing."""
    options = scope.store.meta["options"]
    out = {"finding": options["finding"], "tag": options["tag"], "centres": center_section(model, tag),
           "chance": {"sensitivity": 0.1, "inside": float(tag.mean())}}
    if evidence is None or options["finding"] not in scope.store.findings:
        return out
    finding = scope.store.findings.index(options["finding"])
    rows = scope.sample(np.intersect1d(scope.rows, tag_rows(scope.store)), scope.limit)
    parts = []
    for chunk, maps in evidence.maps(rows, finding):
        maps = np.clip(maps, 0, None)
        parts.append(pd.DataFrame({
            "id": scope.store.ids[chunk], "finding": options["finding"],
            "sensitivity": [confounder_sensitivity(map, tag) if map.any() else np.nan for map in maps],
            "inside": disease_sensitivity(maps, np.repeat(tag[None], len(maps), 0)).inside,
        }))
    if parts:
        table = pd.concat(parts, ignore_index=True)
        found = by_finding(scope, table, ["sensitivity", "inside"])
        out["local"] = {options["finding"]: {**found[options["finding"]], "images": len(rows),
                                             "blank": int(table["inside"].isna().sum())}}
    return out
