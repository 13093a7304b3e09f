"""An evaluation counts every image and gives the figures one computes from its own tables."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from attrinet.data.phantom import phantom_source
from attrinet.data.prepare import prepare
from attrinet.errors import AttrinetError
from attrinet.evaluation import choose_thresholds, evaluate, jsonable
from attrinet.nets.attrinet import AttriNet


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return prepare(phantom_source(90, 32, seed=2), tmp_path_factory.mktemp("data") / "s", 32, progress=False)


class Oracle:
    """Knows the labels by the image, and points at the masks: the best that can be scored. A finding is gone for it
    where most of its mask has changed."""

    findings, name, cost = ("Edema", "Cardiomegaly"), "oracle", 0.0

    def __init__(self, store, blank=()):
        self.store, self.blank, self.explained = store.select(self.findings), blank, []

    def rows(self, images):
        grey = ((images[:, 0] + 1) * 127.5).numpy()
        return [int(np.abs(self.store.images - g).mean((1, 2)).argmin()) for g in grey]

    def logits(self, images):
        out = []
        for row, image in zip(self.rows(images), images, strict=True):
            changed = (image[0] - self.store.batch([row])[0, 0]).abs().numpy() > 1e-4
            present = [self.store.labels[row, c] == 1 and changed[self.store.mask(row, c)].mean() < 0.5
                       for c in range(2)]
            out.append([4.0 if p else -4.0 for p in present])
        return torch.tensor(out)

    def attribute(self, images, finding):
        maps = []
        for row in self.rows(images):
            self.explained.append((row, finding))
            mask = self.store.mask(row, finding)
            empty = np.zeros((32, 32), bool)
            maps.append(empty if mask is None or row in self.blank else mask)
        return torch.tensor(np.stack(maps)).float()


THRESHOLDS = {"Edema": 0.5, "Cardiomegaly": 0.5}


def test_a_perfect_model_scores_perfectly(store):
    oracle = Oracle(store)
    result = evaluate(oracle, oracle, store, store.split("train"), THRESHOLDS, draws=50, progress=False)
    metrics = jsonable(result.metrics)
    assert metrics["auc"]["mean"]["value"] == 1 and metrics["class_sensitivity"]["mean"] == 1
    assert metrics["calls"]["Edema"]["sensitivity"]["value"] == 1
    located = metrics["disease_sensitivity"]["true_positives"]
    assert located["mean"]["inside"]["value"] == 1
    assert located["Edema"]["enrichment"]["value"] == pytest.approx(1 / located["Edema"]["area"]["value"])
    assert len(result.predictions) == 2 * len(store.split("train"))


def test_maps_without_evidence_are_counted_not_scored_as_zero(store):
    rows = store.split("train")
    sick = [r for r in rows if store.select(["Edema"]).labels[r, 0] == 1]
    oracle = Oracle(store, blank=sick[:2])
    result = evaluate(oracle, oracle, store, rows, THRESHOLDS, draws=5, progress=False)
    section = result.metrics["disease_sensitivity"]
    both = [r for r in sick[:2] if store.select(["Cardiomegaly"]).labels[r, 0] == 1]
    assert section["blank"] == 2 + len(both) and section["all"]["Edema"]["inside"].value == 1
    assert result.localisation["inside"].isna().sum() == section["blank"]


def test_the_figures_are_those_of_the_tables(store):
    torch.manual_seed(0)
    model = AttriNet(["Edema", "Cardiomegaly"], 32, width=4)
    rows = store.split("train")
    thresholds = choose_thresholds(model, store)
    result = evaluate(model, model, store, rows, thresholds, draws=20, batch_size=7, progress=False)
    for name in model.findings:
        table = result.predictions[result.predictions["finding"] == name]
        assert len(table) == len(rows)
        want = roc_auc_score(table["label"].astype(int), table["probability"])
        assert result.metrics["auc"][name].value == pytest.approx(want, abs=1e-9)
        positive = table[table["label"] == 1]
        assert result.metrics["calls"][name]["sensitivity"].value == pytest.approx(positive["called"].mean())
        located = result.localisation[result.localisation["finding"] == name]
        assert len(located) == len(positive)
        assert result.metrics["disease_sensitivity"]["all"][name]["inside"].value == pytest.approx(
            located["inside"].mean())
    # the evidence of an image, by hand
    row, c = result.localisation.iloc[0], 0
    index = list(store.ids).index(row["id"])
    evidence = model.explain(store.batch([index])).evidence[0, c].numpy()
    mask = store.select(model.findings).mask(index, c)
    assert row["inside"] == pytest.approx(evidence[mask].sum() / evidence.sum(), rel=1e-4)


def test_nothing_to_evaluate_is_an_error(store):
    oracle = Oracle(store)
    with pytest.raises(AttrinetError, match="no image to evaluate"):
        evaluate(oracle, oracle, store, store.split("test")[:0], THRESHOLDS)
