"""What the viewer says about its run and its store: the same for everybody who looks."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from attrinet.cli.evaluate import default_folder
from attrinet.cli.run_folder import Run, home
from attrinet.data.source import SPLITS
from attrinet.data.store import Store
from attrinet.errors import AttrinetError
from attrinet.nets.attrinet import AttriNet
from attrinet.protocols import Explainer
from attrinet.train.log import read_log

PAGE = 24  # images on one page of the store's list
THUMBNAIL = 112  # pixels a side


def model_info(run: Run, store: Store | None) -> dict:
    model = run.model
    attrinet = isinstance(model, AttriNet)
    return {
        "run": run.path.resolve().name, "kind": model.name, "findings": list(model.findings),
        "thresholds": [float(t) for t in model.thresholds], "image_size": model.image_size,
        "map": "attribution" if attrinet else "contributions" if isinstance(model, Explainer) else None,
        "pool": model.geometry.pool if attrinet else None,
        "weights": [model.weight_map(c).flatten().tolist() for c in range(len(model.findings))] if attrinet else None,
        "store": None if store is None else {
            "adapter": store.meta["adapter"], "images": len(store),
            "splits": [s for s in SPLITS if len(store.split(s))],
        },
    }


def global_info(model) -> dict:
    """The numbers beside the centres; "centers": whether there are any."""
    if not isinstance(model, AttriNet):
        return {"centers": False, "findings": []}
    return {"centers": True, "grid": model.geometry.grid, "findings": [
        {"name": name, "bias": float(model.classifiers[c].bias.detach())} for c, name in enumerate(model.findings)
    ]}


def centers(model) -> np.ndarray:
    """(2, C, H, W) float32: positive, negative. Raises AttrinetError for a model without."""
    if not isinstance(model, AttriNet):
        raise AttrinetError(f"a {model.name} has no class centres")
    found = model.global_explanation()
    return np.stack([found.positive_center.cpu().numpy(), found.negative_center.cpu().numpy()])


def metrics(run: Path, weights: str) -> dict:
    """evaluation: what `attrinet evaluate` wrote of the model of these weights (weights_hash), None before. stale: it
    is of others. training: validation AUC by step."""
    path = default_folder(run) / "metrics.json"
    try:
        evaluation = json.loads(path.read_text())
        stale = evaluation.get("weights", weights) != weights
    except (OSError, ValueError, AttributeError):
        evaluation, stale = None, False
    records = read_log(home(run) / "metrics.jsonl")
    training = [{"step": r["step"], "mean": r.get("mean_auc"), "auc": r["auc"]} for r in records
                if r.get("kind") == "valid" and "auc" in r]
    return {"evaluation": None if stale else evaluation, "stale": stale, "training": training}


def truth(store: Store | None, row: int | None) -> dict | None:
    """Labels (1, 0, None for unknown) and which findings are annotated, of an image of the store; None of an upload."""
    if store is None or row is None:
        return None
    labels = [None if np.isnan(v) else int(v) for v in store.labels[row]]
    annotated = [c for c in range(len(store.findings)) if (m := store.mask(row, c)) is not None and m.any()]
    return {"labels": labels, "annotated": annotated, "split": str(store.manifest["split"].iloc[row])}


def store_page(store: Store, *, split: str, finding: str, state: str, search: str, page: str) -> dict:
    """One page of the images that match. split: "" for all; finding: a name, with state present, absent or unknown;
    search: part of an id. Raises AttrinetError for anything else."""
    rows = np.ones(len(store), bool)
    if split:
        rows &= (store.manifest["split"] == split).to_numpy()
    if finding:
        if finding not in store.findings or state not in ("present", "absent", "unknown"):
            raise AttrinetError("want one of the store's findings, and present, absent or unknown")
        labels = store.labels[:, store.findings.index(finding)]
        rows &= {"present": labels == 1, "absent": labels == 0, "unknown": np.isnan(labels)}[state]
    if search:
        rows &= store.manifest["id"].str.contains(search[:200], case=False, regex=False).to_numpy(bool)
    found = np.flatnonzero(rows)
    pages = max(1, -(-len(found) // PAGE))
    number = min(int(page), pages - 1) if page.isdecimal() and len(page) < 10 else 0
    return {"count": len(found), "page": number, "pages": pages, "images": [
        {"row": int(row), "id": str(store.ids[row]),
         "present": [f for c, f in enumerate(store.findings) if store.labels[row, c] == 1]}
        for row in found[number * PAGE : (number + 1) * PAGE]
    ]}


def thumbnail(store: Store, row: int) -> bytes:
    """PNG."""
    image = Image.fromarray(np.array(store.images[row]))
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
