"""Each map is made once, and findings that can be explained together are."""

import numpy as np
import pytest
import torch

from attrinet.data.store import Store
from attrinet.evaluation.evidence import Evidence
from attrinet.evaluation.kept import KeptMaps
from attrinet.evaluation.randomisation import randomisation_section
from attrinet.evaluation.scope import Scope
from attrinet.metrics.intervals import Bootstrap

ROWS, ROOM = np.array([0, 3, 5]), 1 << 20


class Together:
    """Explains all findings at once; a map is the image, times 1, 2, ... by finding."""

    name, cost = "together", 300.0

    def __init__(self, findings: int):
        self.findings, self.asked = findings, 0

    def attribute(self, images: torch.Tensor, finding: int) -> torch.Tensor:
        raise AssertionError("findings are asked for one at a time")

    def attribute_all(self, images: torch.Tensor) -> torch.Tensor:
        self.asked += len(images)
        return images * torch.arange(1.0, self.findings + 1)[:, None, None]


def all_maps(evidence: Evidence, store: Store) -> np.ndarray:
    """(C, N, H, W)"""
    return np.stack([np.concatenate([maps for _, maps in evidence.maps(ROWS, c)]) for c in range(len(store.findings))])


def expected(store: Store) -> np.ndarray:
    images = store.batch(ROWS)[:, 0].numpy()
    return np.stack([images * np.float32(c + 1) for c in range(len(store.findings))])


@pytest.mark.parametrize("disk", [True, False])
def test_what_one_explanation_gives_for_all_findings_is_made_once_an_image(store, disk, tmp_path):
    count = len(store.findings)
    explainer = Together(count)
    evidence = Evidence(explainer, store, 2, ROOM, KeptMaps(tmp_path / "maps") if disk else None)
    np.testing.assert_array_equal(all_maps(evidence, store), expected(store))
    assert explainer.asked == len(ROWS)
    np.testing.assert_array_equal(all_maps(evidence, store), expected(store))  # again: each of them is there
    assert explainer.asked == len(ROWS)
    assert evidence.section()["cost"] == 300 / count and evidence.section()["explained"] == count * len(ROWS)


def test_maps_that_nobody_asked_for_are_not_counted(store):
    evidence = Evidence(Together(len(store.findings)), store, 2, ROOM)
    list(evidence.maps(ROWS, 1))
    assert evidence.section()["explained"] == len(ROWS)


def test_after_a_kill_all_findings_maps_are_there_and_are_counted_when_asked_for(store, tmp_path):
    disk = KeptMaps(tmp_path / "maps")
    before = Evidence(Together(len(store.findings)), store, 2, ROOM, disk)
    list(before.maps(ROWS, 1))
    explainer = Together(len(store.findings))
    after = Evidence(explainer, store, 2, ROOM, disk)
    np.testing.assert_array_equal(all_maps(after, store), expected(store))
    assert explainer.asked == 0
    whole = Evidence(Together(len(store.findings)), store, 2, ROOM)
    all_maps(whole, store)
    assert {**after.section(), "seconds_per_image": 0} == {**whole.section(), "seconds_per_image": 0}


def test_without_room_they_are_made_again_and_are_the_same(store):
    explainer = Together(len(store.findings))
    evidence = Evidence(explainer, store, 2, memory=0)
    np.testing.assert_array_equal(all_maps(evidence, store), expected(store))
    assert explainer.asked == len(store.findings) * len(ROWS)


class Searching:
    """Its cost is measured: as many calls as the image has bright pixels."""

    name, cost = "searching", float("nan")

    def attribute(self, images: torch.Tensor, finding: int) -> torch.Tensor:
        self.cost = (images > 0).sum().item() / len(images)
        return images[:, 0]


@pytest.mark.parametrize("done", [0, 1, 3])
def test_a_measured_cost_is_the_mean_over_all_maps_also_after_a_kill(store, tmp_path, done):
    disk = KeptMaps(tmp_path / "maps")
    list(Evidence(Searching(), store, 1, ROOM, disk).maps(ROWS[:done], 0))
    after = Evidence(Searching(), store, 1, ROOM, disk)
    list(after.maps(ROWS, 0))
    assert after.section()["cost"] == pytest.approx((store.batch(ROWS) > 0).sum().item() / len(ROWS))


def test_the_randomised_model_explains_an_image_once_for_all_findings(store):
    rows, count = np.arange(len(store)), len(store.findings)
    scope = Scope(store, rows, np.zeros((len(rows), count)), np.full(count, 0.5),
                  Bootstrap(store.manifest["patient"].to_numpy(), 5, 0), 0)
    models: list[Together] = []

    def rebuild(_):
        models.append(Together(len(store.findings)))
        return models[-1]

    evidence = Evidence(Together(len(store.findings)), store, 2, ROOM)
    found = randomisation_section(scope, evidence, torch.nn.Linear(2, 2), rebuild, False)
    assert models[0].asked == found["images"] > 1
