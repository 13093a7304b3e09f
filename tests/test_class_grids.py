"""Grids of class sensitivity repeat images; explaining them does not."""

import numpy as np
import pandas as pd
import pytest

from attrinet.data.store import Store
from attrinet.evaluation.evidence import Evidence
from attrinet.evaluation.grids import NEGATIVE_COLUMNS, grid_table
from attrinet.evaluation.scope import Scope
from attrinet.metrics.intervals import Bootstrap
from attrinet.nets.attrinet import AttriNet

FINDINGS, SICK, WELL = tuple("abcde"), 200, 12


@pytest.fixture(scope="module")
def store():
    """200 images that have all findings and 12 that have none, of noise."""
    images = np.random.default_rng(0).integers(0, 256, (SICK + WELL, 32, 32), dtype=np.uint8)
    store = Store(None, images, FINDINGS, {})
    ids = [f"i{k}" for k in range(len(images))]
    labels = np.repeat([1, 0], [SICK, WELL])
    store.manifest = pd.DataFrame({"id": ids, "patient": ids, "split": "test", **dict.fromkeys(FINDINGS, labels)})
    return store


@pytest.mark.parametrize("memory", [1 << 20, 0])  # bytes for maps that are kept: enough, and none
def test_200_grids_of_5_findings_need_at_most_one_explanation_per_distinct_image(store, memory):
    # given confident, right predictions, and so few negatives that each comes many times
    model = AttriNet(FINDINGS, 32, width=1)
    probabilities = np.where(store.labels == 1, 0.9, 0.1)
    scope = Scope(store, np.arange(len(store)), probabilities, np.full(5, 0.5), Bootstrap(store.patients, 5, 0), seed=0)
    seen: list[int] = []
    model.generator.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    # when 200 grids a finding are judged
    table = grid_table(scope, Evidence(model, store, 32, memory), 200, progress=False)
    # then 4,000 cells were filled from one map of every image and finding
    assert table.groupby("finding").size().to_dict() == dict.fromkeys(FINDINGS, 200)
    assert sum(seen) == len(FINDINGS) * (SICK + WELL)
    # and a grid's score is that of maps made one by one
    row = table.iloc[300]
    places = [int(row[k][1:]) for k in ("id", *NEGATIVE_COLUMNS)]
    totals = [model.attribute(store.batch([k]), FINDINGS.index(row["finding"])).clamp(min=0).sum().item()
              for k in places]
    assert row["score"] == pytest.approx(totals[0] / sum(totals), rel=1e-4)
