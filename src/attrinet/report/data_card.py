"""The data card: what is in the store a model is judged on, what was left out of it, and how it was split."""

from __future__ import annotations

import json

from attrinet.data.source import SPLITS
from attrinet.data.store import Store
from attrinet.facts import Facts
from attrinet.model_card import preprocessing


def data_card(store: Store, facts: Facts) -> dict:
    """Tables for the page. findings: a row a finding of present, absent and unknown images of every split, as counted
    in the manifest, and annotated images. excluded: (reason, images), the frequent first."""
    return {
        "splits": [{"name": name, **counted(store, name)} for name in SPLITS],
        "findings": [finding_row(store, c) for c in range(len(store.findings))],
        "excluded": sorted(((k, n) for k, n in store.meta["excluded"].items() if n), key=lambda pair: -pair[1]),
        "views": facts.views, "shared_patients": facts.shared_patients, "preprocessing": preprocessing(store.meta),
        "options": json.dumps(store.meta["options"], ensure_ascii=False), "checksum": store.meta["checksum"],
        "adapter": store.meta["adapter"], "own": facts.own_store,
        "trained_on": facts.config.get("data", {}).get("store", "a store the run does not name"),
    }


def counted(store: Store, split: str) -> dict[str, int]:
    rows = store.split(split)
    return {"images": len(rows), "patients": len(set(store.patients[rows]))}


def finding_row(store: Store, finding: int) -> dict:
    name = store.findings[finding]
    counts = []
    for split in SPLITS:
        labels = store.labels[store.split(split), finding]
        present, absent = int((labels == 1).sum()), int((labels == 0).sum())
        counts.append({"present": present, "absent": absent, "unknown": len(labels) - present - absent})
    return {"name": name, "splits": counts, "annotated": int(store.meta["annotated"].get(name, 0))}
