"""An evaluation counts every image and gives the figures one computes from its own tables."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from attrinet.data.phantom import phantom_source
from attrinet.data.prepare import prepare
from attrinet.errors import AttrinetError
from attrinet.evaluation import choose_thresholds, evaluate, jsonable
from attrinet.metrics.intervals import Interval
from attrinet.nets.attrinet import AttriNet
from oracle import THRESHOLDS, Oracle


def test_a_perfect_model_scores_perfectly(store):
    oracle = Oracle(store)
    result = evaluate(oracle, oracle, store, store.split("train"), THRESHOLDS, draws=50, progress=False)
    metrics = jsonable(result.metrics)
    assert metrics["auc"]["mean"]["value"] == 1 and metrics["class_sensitivity"]["mean"] == 1
    assert metrics["calls"]["Edema"]["sensitivity"]["value"] == 1
    located = metrics["disease_sensitivity"]["true_positives"]
    assert located["mean"]["inside"]["value"] == 1
    assert located["Edema"]["enrichment"]["value"] == pytest.approx(1 / located["Edema"]["area"]["value"])
    places = metrics["localisation"]["mean"]
    assert places["pointing_game"]["value"] == places["iou"]["value"] == 1 and places["blank"] == 0
    assert metrics["calibration"]["mean"]["value"] == pytest.approx(1 / (1 + np.exp(4)))
    assert metrics["deletion"]["mean"]["value"] < metrics["insertion"]["mean"]["value"]
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
        want = average_precision_score(table["label"].astype(int), table["probability"])
        assert result.metrics["average_precision"][name].value == pytest.approx(want, abs=1e-9)
        positive, negative = (table[table["label"] == label] for label in (1, 0))
        assert result.metrics["calls"][name]["sensitivity"].value == pytest.approx(positive["called"].mean())
        assert result.metrics["calls"][name]["specificity"].value == pytest.approx(1 - negative["called"].mean())
        located = result.localisation[result.localisation["finding"] == name]
        assert len(located) == len(positive)
        assert result.metrics["disease_sensitivity"]["all"][name]["inside"].value == pytest.approx(
            located["inside"].mean())
        for key, column in (("pointing_game", "hit"), ("iou", "iou")):
            assert result.metrics["localisation"][name][key].value == pytest.approx(located[column].mean())
        grids = result.grids[result.grids["finding"] == name]
        assert result.metrics["class_sensitivity"][name]["mean"] == pytest.approx(grids["score"].mean())
        assert result.metrics["class_sensitivity_interval"][name].value == pytest.approx(grids["score"].mean())
        perturbed = result.perturbation[(result.perturbation["finding"] == name) & result.perturbation["called"]]
        for column in ("deletion", "insertion"):
            assert result.metrics[column][name].value == pytest.approx(perturbed[column].mean(), nan_ok=True)
    # the evidence of an image, by hand
    row, c = result.localisation.iloc[0], 0
    index = list(store.ids).index(row["id"])
    evidence = model.explain(store.batch([index])).evidence[0, c].numpy()
    mask = store.select(model.findings).mask(index, c)
    assert row["inside"] == pytest.approx(evidence[mask].sum() / evidence.sum(), rel=1e-4)


def test_a_probability_that_is_the_threshold_is_a_call(store):
    exactly = float(torch.tensor(4.0).sigmoid())
    found = evaluate(Oracle(store), None, store, store.split("train"), dict.fromkeys(THRESHOLDS, exactly), draws=5,
                     progress=False)
    assert found.metrics["calls"]["Edema"]["sensitivity"].value == 1


def test_every_row_of_every_table_names_the_patient_of_its_image(tmp_path):
    source = phantom_source(40, 32, seed=2)
    patients = [f"patient {k // 3}" for k in range(40)]
    source = replace(source, manifest=source.manifest.assign(patient=patients, split="train"))
    store = prepare(source, tmp_path / "store", 32, progress=False)
    oracle, of = Oracle(store), dict(zip(store.ids, patients, strict=True))
    result = evaluate(oracle, oracle, store, np.arange(40), THRESHOLDS, draws=5, perturbed=2, progress=False)
    for table in (result.predictions, result.localisation, result.grids, result.perturbation):
        assert table["patient"].nunique() > 1
        assert table["patient"].tolist() == [of[id] for id in table["id"]]


def test_nothing_to_evaluate_is_an_error(store):
    oracle = Oracle(store)
    with pytest.raises(AttrinetError, match="no image to evaluate"):
        evaluate(oracle, oracle, store, store.split("test")[:0], THRESHOLDS)


def test_a_prediction_that_is_not_a_number_names_the_image(store):
    model = AttriNet(["Edema", "Cardiomegaly"], 32, width=2)
    with torch.no_grad():
        model.classifiers[0].bias.fill_(torch.nan)
    rows = store.split("test")
    with pytest.raises(AttrinetError, match=f"{len(rows)} of {len(rows)} images .*{store.ids[rows[0]]}.*damaged"):
        evaluate(model, model, store, rows, THRESHOLDS, draws=5, progress=False)
    with pytest.raises(AttrinetError, match="not a number"):
        choose_thresholds(model, store)


def test_where_validation_shows_one_kind_alone_the_threshold_stays_and_it_is_said(store):
    model = AttriNet(["Edema", "Cardiomegaly"], 32, width=2, critic=False)
    model.thresholds.copy_(torch.tensor([0.3, 0.4]))
    manifest = store.manifest.copy()
    manifest.loc[manifest["split"] == "valid", "Cardiomegaly"] = 0
    other = replace(store)
    other.__dict__["manifest"] = manifest
    with pytest.warns(UserWarning, match="'valid' does not show Cardiomegaly both present and absent"):
        found = choose_thresholds(model, other)
    assert found["Cardiomegaly"] == pytest.approx(0.4) and found["Edema"] != pytest.approx(0.3)


def test_logits_that_differ_are_never_the_same_probability(store):
    class Sure(Oracle):
        def logits(self, images):
            return 18 + super().logits(images) * 1e-3

    oracle, rows = Oracle(store), store.split("test")
    sure = Sure(store)
    found, want = (evaluate(m, None, store, rows, THRESHOLDS, draws=5, progress=False) for m in (sure, oracle))
    assert found.metrics["auc"]["mean"].value == want.metrics["auc"]["mean"].value


@pytest.mark.parametrize("level", [0, 18, 22])
def test_an_evaluation_calls_what_the_model_calls(store, level):
    """Where probabilities are nearly 1 a threshold in float32, as the model has it, can be 1."""
    torch.manual_seed(0)
    model = AttriNet(["Edema", "Cardiomegaly"], 32, width=2, critic=False).eval()
    for each in model.classifiers:
        each.bias.data.fill_(level)
    rows = store.split("test")
    model.thresholds.copy_(torch.tensor(list(choose_thresholds(model, store).values())))
    thresholds = dict(zip(model.findings, model.thresholds.tolist(), strict=True))
    found = evaluate(model, None, store, rows, thresholds, draws=5, progress=False).predictions
    called = model.explain(store.batch(rows)).called.numpy()
    np.testing.assert_array_equal(found["called"].to_numpy().reshape(len(rows), 2), called)


def test_bounds_that_agree_are_no_bounds():
    unknown = {"low": None, "high": None}
    assert jsonable(Interval(0.0, 0.0, 0.0)) == {"value": 0.0, **unknown}
    assert jsonable(Interval(0.5, np.nan, np.nan)) == {"value": 0.5, **unknown}
    assert jsonable(Interval(0.9, 0.8, 1.0)) == {"value": 0.9, "low": 0.8, "high": 1.0}


class Own(torch.nn.Module):
    """A user's classifier with batch norm, in training mode."""

    findings = ("Edema", "Cardiomegaly")

    def __init__(self, width=2):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(),
                                          torch.nn.Flatten(), torch.nn.LazyLinear(width))
        self.layers(torch.zeros(1, 1, 32, 32))

    def logits(self, images):
        return self.layers(images)


def test_a_module_in_training_mode_is_judged_in_evaluation_mode_and_left_as_it_was(store):
    model, rows = Own(), store.split("test")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    small, large = (evaluate(model, None, store, rows, THRESHOLDS, draws=5, batch_size=size, progress=False)
                    for size in (2, 16))
    choose_thresholds(model, store)
    np.testing.assert_allclose(small.predictions["probability"], large.predictions["probability"], atol=1e-6)
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    assert all(part.training for part in model.modules())


@pytest.mark.parametrize("changes, words", [
    ({"rows": [0, 0, 1]}, "different row numbers"), ({"rows": [0.5]}, "different row numbers"),
    ({"rows": [True, False]}, "different row numbers"), ({"thresholds": {"Edema": 0.5}}, "'Cardiomegaly'"),
    ({"thresholds": {"Edema": 50, "Cardiomegaly": 0.5}}, "0 to 1, for 'Edema'"),
    ({"model": Own(width=3)}, r"Own.logits returned \(16, 3\)"),
    ({"model": AttriNet(["Edema", "Cardiomegaly"], 64, width=2)}, "holds 32-pixel images, the model is for 64"),
])
def test_what_does_not_fit_together_is_said(store, changes, words):
    arguments = {"model": Own(), "explainer": None, "store": store, "rows": store.split("train")[:16],
                 "thresholds": THRESHOLDS} | changes
    with pytest.raises(AttrinetError, match=words):
        evaluate(**arguments, draws=5, progress=False)


@pytest.mark.parametrize("made, words", [
    (lambda images: images, r"oracle: gave maps of shape \(\d+, 1, 32, 32\)"),
    (lambda images: images[:, 0, :8], r"want \(\d+, 32, 32\)"),
    (lambda images: images[:, 0] * torch.nan, "oracle: gave a map with NaN"),
])
def test_maps_that_are_none_are_not_scored(store, made, words):
    oracle = Oracle(store)
    oracle.attribute = lambda images, finding: made(images)
    with pytest.raises(AttrinetError, match=words):
        evaluate(oracle, oracle, store, store.split("test"), THRESHOLDS, draws=5, progress=False)
