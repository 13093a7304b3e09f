"""What an evaluation says of maps is what one finds by looking at them."""

import copy
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from attrinet.data.prepare import prepare
from attrinet.data.shortcut import Tag, shortcut_source, tag_rows, tagged_with
from attrinet.evaluation import choose_thresholds, evaluate
from attrinet.evaluation.evidence import Evidence
from attrinet.evaluation.grids import NEGATIVE_COLUMNS, class_sections
from attrinet.evaluation.randomisation import randomised
from attrinet.evaluation.scope import Scope
from attrinet.metrics.deletion import SHARES, area, deleted, inserted, ranks
from attrinet.metrics.intervals import Bootstrap
from attrinet.metrics.iou import THRESHOLDS as SHARES_OF_MAXIMUM
from attrinet.metrics.iou import best_threshold, ious
from attrinet.nets.attrinet import AttriNet
from attrinet.posthoc.build import build
from oracle import THRESHOLDS, Oracle

QUICK = {"draws": 5, "progress": False}


@pytest.fixture(scope="module")
def model(store):
    """Untrained, with its own thresholds: some images are called, some are not."""
    torch.manual_seed(0)
    model = AttriNet(["Edema", "Cardiomegaly"], 32, width=4, critic=False).eval()
    model.chosen = choose_thresholds(model, store)
    return model


@pytest.fixture(scope="module")
def judged(model, store):
    return evaluate(model, model, store, store.split("train"), model.chosen, perturbed=6, **QUICK)


def row_of(store, id):
    return list(store.ids).index(id)


def test_every_map_is_made_once(store):
    oracle = Oracle(store)
    rows = store.split("train")
    result = evaluate(oracle, oracle, store, rows, THRESHOLDS, **QUICK)
    assert len(oracle.explained) == len(set(oracle.explained)) == result.metrics["explainer"]["explained"]


def test_attri_nets_maps_come_with_its_predictions(model, store, judged):
    own = judged.metrics["explainer"]
    valid = sum(len(judged_rows(store, c)) for c in range(2))  # whose maps choose the IoU threshold
    assert own["explained"] == 2 * len(store.split("train")) + valid and own["seconds_per_image"] > 0


def judged_rows(store, c):
    store = store.select(["Edema", "Cardiomegaly"])
    return [r for r in store.split("valid") if store.labels[r, c] == 1 and store.mask(r, c).any()]


def test_without_room_for_them_maps_are_made_again_and_are_the_same(model, store):
    rows = store.split("test")
    small, large = (Evidence(model, store.select(model.findings), 4, memory) for memory in (0, 1 << 20))
    for _ in range(2):
        for (_, a), (_, b) in zip(small.maps(rows, 1), large.maps(rows, 1), strict=True):
            np.testing.assert_array_equal(a, b)
    assert (small.explained, large.explained) == (2 * len(rows), len(rows))
    assert not small.comes_with_predictions(model, 1) and large.comes_with_predictions(model, 1)


def test_the_sum_of_attri_nets_map_predicts_the_logit_exactly_and_that_of_a_uniform_map_not_at_all(
    model, store, judged
):
    for name in (*model.findings, "mean"):
        found = judged.metrics["faithfulness"][name]["sum_predicts_logit"]
        assert found["r2"].value == pytest.approx(1, abs=1e-6) and found["residual"].value < 1e-5
    flat = evaluate(model, build("uniform", model), store, store.split("train"), model.chosen, perturbed=6, **QUICK)
    assert flat.metrics["faithfulness"]["mean"]["sum_predicts_logit"]["r2"].value == 0


def test_deletion_insertion_and_flips_are_those_of_the_images_one_makes_by_hand(model, store, judged):
    table = judged.perturbation
    item = table[table["called"]].iloc[1]
    row, c = row_of(store, item["id"]), model.findings.index(item["finding"])
    image = store.batch([row])
    rank = ranks(model.attribute(image, c)[0].numpy(), np.random.default_rng([0, c, row]))

    def curve(frames):
        return model.logits(torch.from_numpy(frames)[:, None])[:, c].sigmoid().double().numpy()

    down, up = (curve(make(image[0, 0].numpy(), rank)) for make in (deleted, inserted))
    assert item["deletion"] == pytest.approx(area(down), abs=1e-5)
    assert item["insertion"] == pytest.approx(area(up), abs=1e-5)
    assert item["flips"] == (down[SHARES.index(0.1)] < model.chosen[item["finding"]])
    assert item["logit"] == pytest.approx(float(model.logits(image)[0, c]), abs=1e-5)


def test_only_called_images_are_perturbed_and_no_more_than_asked(judged):
    table = judged.perturbation
    assert table.loc[table["called"], ["deletion", "insertion", "flips"]].notna().all(axis=None)
    assert table.loc[~table["called"], ["deletion", "insertion", "flips"]].isna().all(axis=None)
    assert table.groupby(["finding", "called"]).size().max() == 6


def test_deleting_what_decides_flips_the_call_and_deleting_anything_does_not(store):
    oracle = Oracle(store)
    rows = np.array([r for r in store.split("train")
                     if (mask := oracle.store.mask(r, 0)) is not None and mask.mean() < 0.12])
    assert len(rows) > 5
    own = evaluate(oracle, oracle, store, rows, THRESHOLDS, perturbed=5, **QUICK)
    other = evaluate(oracle, Anywhere(), store, rows, THRESHOLDS, perturbed=5, **QUICK)
    assert own.metrics["faithfulness"]["Edema"]["flips"].value == 1
    assert other.metrics["faithfulness"]["Edema"]["flips"].value == 0
    assert own.metrics["deletion"]["Edema"].value < other.metrics["deletion"]["Edema"].value
    assert own.metrics["insertion"]["Edema"].value > other.metrics["insertion"]["Edema"].value


class Anywhere:
    name, cost = "anywhere", 0.0

    def attribute(self, images, finding):
        return torch.rand(images[:, 0].shape, generator=torch.Generator().manual_seed(0))


def test_the_iou_threshold_is_the_best_of_the_validation_images(model, store, judged):
    own = store.select(model.findings)
    for c, name in enumerate(model.findings):
        section = judged.metrics["localisation"][name]
        rows = judged_rows(store, c)
        maps = model.attribute(store.batch(rows), c).numpy()
        best = best_threshold(ious(maps, np.stack([own.mask(r, c) for r in rows])))
        assert section["iou_threshold"] == best and section["iou_threshold_from"] == "valid"
        assert best in SHARES_OF_MAXIMUM
        item = judged.localisation[judged.localisation["finding"] == name].iloc[0]
        row = row_of(store, item["id"])
        evidence = model.attribute(store.batch([row]), c)[0].clamp(min=0).numpy()
        called, mask = evidence >= best * evidence.max(), own.mask(row, c)
        assert item["iou"] == pytest.approx((called & mask).sum() / (called | mask).sum())
    on_valid = evaluate(model, model, store, store.split("valid"), model.chosen, perturbed=1, **QUICK)
    assert on_valid.metrics["localisation"]["Edema"]["iou_threshold_from"] == "train"  # never on what is judged


def test_grids_name_their_images_and_a_reader_can_score_them_again(model, store, judged):
    item = judged.grids.iloc[0]
    c = model.findings.index(item["finding"])
    rows = [row_of(store, item[key]) for key in ("id", "negative_1", "negative_2", "negative_3")]
    assert store.select(model.findings).labels[rows, c].tolist() == [1, 0, 0, 0]
    totals = model.attribute(store.batch(rows), c).clamp(min=0).sum((1, 2))
    assert item["score"] == item["score_published"] == pytest.approx(float(totals[0] / totals.sum()), rel=1e-4)


class Blank(Anywhere):
    def attribute(self, images, finding):
        return -torch.ones_like(images[:, 0])


def test_blank_maps_have_no_score_and_are_counted_and_score_0_as_published(model, store):
    result = evaluate(model, Blank(), store, store.split("train"), model.chosen, perturbed=2, **QUICK)
    metrics, table = result.metrics, result.localisation
    assert table[["inside", "hit", "iou"]].isna().all(axis=None) and (table["inside_published"] == 0).all()
    assert metrics["disease_sensitivity"]["blank"] == metrics["localisation"]["mean"]["blank"] == len(table) > 0
    for name in model.findings:
        section = metrics["class_sensitivity"][name]
        assert np.isnan(section["mean"]) and section["blank"] == section["grids"] > 0
        assert metrics["class_sensitivity_published"][name].value == 0


def test_grids_whose_negatives_are_of_few_patients_have_no_bounds(store):
    rows = store.split("train")
    ids, patients = store.ids[rows], store.patients[rows]
    scope = Scope(store.select(["Edema"]), rows, np.zeros((len(rows), 1)), np.array([0.5]), Bootstrap(patients, 20), 0)
    table = pd.DataFrame({"id": ids[:9], "patient": patients[:9], "finding": "Edema", "score": np.linspace(0, 1, 9),
                          "score_published": np.linspace(0, 1, 9)})
    for negatives, bounded in ((ids[:9], True), ([ids[0]] * 9, False)):
        columns = dict.fromkeys(NEGATIVE_COLUMNS, negatives)
        found = class_sections(scope, table.assign(**columns))["class_sensitivity_interval"]["Edema"]
        assert found.value == 0.5 and bool(found.low < 0.5 < found.high) == bounded == (not np.isnan(found.low))


def test_a_blank_map_is_no_order_to_delete_pixels_in_and_is_counted(model, store, judged):
    blank = evaluate(model, Blank(), store, store.split("train"), model.chosen, perturbed=4, **QUICK)
    assert blank.perturbation[["deletion", "insertion", "flips"]].isna().all(axis=None)
    found = blank.metrics["faithfulness"]["mean"]
    assert found["blank"] == found["called"] > 0 and np.isnan(found["flips"].value)
    assert found["sum_predicts_logit"]["r2"].value == 0  # of all maps, as before
    some = evaluate(model, BlankOn(store, model), store, store.split("train"), model.chosen, perturbed=25, **QUICK)
    assert 0 < some.metrics["faithfulness"]["mean"]["blank"] < some.metrics["faithfulness"]["mean"]["called"]
    for name, own in some.perturbation[some.perturbation["called"]].groupby("finding"):
        section, told = some.metrics["faithfulness"][name], own["sum"] > 0
        assert own.loc[told, ["deletion", "insertion", "flips"]].notna().all(axis=None)
        assert section["blank"] == (~told).sum() == own["flips"].isna().sum()
        assert section["flips"].value == pytest.approx(own.loc[told, "flips"].mean())
    assert judged.metrics["faithfulness"]["mean"]["blank"] == 0


def test_a_limit_holds_for_all_that_looks_at_maps_and_not_for_auc(model, store, judged):
    result, again = (evaluate(model, Anywhere(), store, store.split("train"), model.chosen, limit=5, **QUICK)
                     for _ in range(2))
    assert result.metrics["limit"] == 5
    assert result.localisation.groupby("finding").size().max() == 5 < len(judged.localisation) / 2
    assert result.grids.groupby("finding").size().max() == 1  # of four images
    assert result.perturbation.groupby(["finding", "called"]).size().max() == 5
    assert result.metrics["auc"] == judged.metrics["auc"]
    assert result.localisation.equals(again.localisation) and result.grids.equals(again.grids)


def test_a_limit_draws_from_all_grids_and_does_not_take_the_most_confident(model, store, judged):
    some = evaluate(model, Anywhere(), store, store.split("train"), model.chosen, limit=12, **QUICK).grids
    easiest = []
    for name in model.findings:
        grids = [[tuple(row) for row in t.loc[t["finding"] == name, ["id", "negative_1", "negative_2", "negative_3"]]
                  .to_numpy()] for t in (judged.grids, some)]
        assert len(grids[0]) > 3 and len(grids[1]) == 3 and set(grids[1]) <= set(grids[0])
        easiest.append(grids[1] == grids[0][:3])  # the positives of all grids are sorted by confidence
    assert not all(easiest)


def test_a_map_that_ignores_the_weights_is_found_out(model, store, judged):
    rows = store.split("test")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    noise = evaluate(model, build("random", model), store, rows, model.chosen, rebuild=partial(build, "random"),
                     perturbed=1, **QUICK)
    assert noise.metrics["randomisation"]["mean"].value == 1
    for name in model.findings:
        assert abs(judged.metrics["randomisation"][name].value) < 0.3  # as maps that have nothing in common
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_randomised_model_has_every_weight_of_a_tensor_in_another_place_of_it(model):
    trained, random = copy.deepcopy(model), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in trained.parameters():
            weight.normal_(generator=random)
    shuffled = dict(randomised(trained, 0).named_parameters())
    for name, weight in trained.named_parameters():
        assert torch.equal(shuffled[name].flatten().sort().values, weight.flatten().sort().values), name
        assert weight.numel() == 1 or not torch.equal(shuffled[name], weight), name


@pytest.fixture(scope="module")
def tagged(store, tmp_path_factory):
    source = shortcut_source(store.path, "Cardiomegaly", Tag("marker"), positives=0.5)
    return prepare(source, tmp_path_factory.mktemp("tagged") / "s", 32, progress=False)


def test_on_a_tagged_store_evidence_on_the_tag_is_measured(model, tagged):
    tag, rows = tagged_with(tagged).mask(32, 0), tagged.split("train")

    class OnTag(Anywhere):
        def attribute(self, images, finding):
            return torch.from_numpy(tag).float().expand(len(images), -1, -1)

    found = evaluate(model, OnTag(), tagged, rows, model.chosen, perturbed=1, **QUICK).metrics["confounder"]
    assert found["finding"] == "Cardiomegaly" and set(found["centres"]) == set(model.findings)
    own = found["local"]["Cardiomegaly"]
    assert own["sensitivity"].value == own["inside"].value == 1
    assert own["images"] == len(np.intersect1d(rows, tag_rows(tagged)))
    uniform = build("uniform", model)
    flat = evaluate(model, uniform, tagged, rows, model.chosen, perturbed=1, **QUICK).metrics["confounder"]
    assert flat["local"]["Cardiomegaly"]["inside"].value == pytest.approx(flat["chance"]["inside"]) == tag.mean()
    assert flat["local"]["Cardiomegaly"]["sensitivity"].value == pytest.approx(flat["chance"]["sensitivity"], abs=0.001)
    assert flat["centres"] == found["centres"]


def test_an_ordinary_store_has_no_confounder_section(judged):
    assert "confounder" not in judged.metrics


def test_what_rests_on_one_patient_has_a_value_and_no_interval(model, store, judged):
    """All patients but one have no mask of Edema; Cardiomegaly keeps all of its own."""
    edema = model.findings.index("Edema")
    own = store.select(model.findings)
    rows = own.split("train")
    annotated = [r for r in rows if own.labels[r, edema] == 1]
    lone = own.patients[annotated[0]]
    kept = [r for r in rows if own.labels[r, edema] != 1 or own.patients[r] == lone]
    located = evaluate(model, model, store, np.array(kept), model.chosen, perturbed=1, **QUICK).metrics
    inside = located["disease_sensitivity"]["all"]
    assert inside["Edema"]["images"] >= 1 and np.isfinite(inside["Edema"]["inside"].value)
    for found in (inside["Edema"]["inside"], inside["Edema"]["enrichment"],
                  located["localisation"]["Edema"]["pointing_game"]):
        assert np.isnan([found.low, found.high]).all()
    assert np.isnan([inside["mean"]["inside"].low, inside["mean"]["inside"].high]).all()  # over Edema too
    for found in (inside["Cardiomegaly"]["inside"],
                  judged.metrics["disease_sensitivity"]["all"]["Edema"]["inside"]):
        assert found.low < found.high


def test_predictions_that_rest_on_one_patient_have_no_interval(model, store):
    """Of the images with Edema only those of one patient are kept."""
    edema = model.findings.index("Edema")
    own = store.select(model.findings)
    rows = own.split("train")
    lone = own.patients[next(r for r in rows if own.labels[r, edema] == 1)]
    kept = np.array([r for r in rows if own.labels[r, edema] != 1 or own.patients[r] == lone])
    found = evaluate(model, None, store, kept, model.chosen, draws=20, progress=False).metrics
    for bare in (found["auc"]["Edema"], found["average_precision"]["Edema"], found["auc"]["mean"],
                 found["calls"]["Edema"]["sensitivity"]):
        assert np.isfinite(bare.value) and np.isnan([bare.low, bare.high]).all()
    for known in (found["auc"]["Cardiomegaly"], found["calls"]["Edema"]["specificity"], found["calibration"]["Edema"]):
        assert known.low < known.high


class BlankOn:
    """A uniform map of every image but those whose lesion is larger than most of its finding, whose map is blank."""

    name, cost = "blank on large lesions", 0.0

    def __init__(self, store, model):
        self.store, self.device = store.select(model.findings), model.device
        areas = {(r, c): mask.mean() for r in range(len(store)) for c in range(len(model.findings))
                 if (mask := self.store.mask(r, c)) is not None}
        median = [np.median([area for (_, of), area in areas.items() if of == c]) for c in range(len(model.findings))]
        self.large = {(r, c) for (r, c), area in areas.items() if area > median[c]}
        self.rows = {self.store.images[r].tobytes(): r for r in range(len(store))}

    def attribute(self, images, finding):
        grey = ((images[:, 0] + 1) * 127.5).round().to(torch.uint8).cpu().numpy()
        blank = torch.tensor([(self.rows[image.tobytes()], finding) in self.large for image in grey])
        return torch.where(blank[:, None, None], 0.0, torch.ones_like(images[:, 0]))


def test_enrichment_compares_with_the_area_of_the_maps_that_have_a_score(model, store):
    found = evaluate(model, BlankOn(store, model), store, store.split("train"), model.chosen, perturbed=1, **QUICK)
    section = found.metrics["disease_sensitivity"]
    assert 0 < section["blank"] < section["annotated"]
    for name in (*model.findings, "mean"):
        assert section["all"][name]["enrichment"].value == pytest.approx(1)  # evenly spread: chance
        assert set(section["all"][name]) == {"images", "inside", "inside_published", "area", "enrichment"}


def test_true_positives_are_the_annotated_images_that_are_called(model, judged):
    section = judged.metrics["disease_sensitivity"]["true_positives"]
    for name in model.findings:
        own = judged.localisation[judged.localisation["finding"] == name]
        called = own[own["called"]]
        assert 0 < len(called) == section[name]["images"] < len(own)
        assert section[name]["inside"].value == pytest.approx(called["inside"].mean())
        assert section[name]["enrichment"].value == pytest.approx(called["inside"].mean() / called["area"].mean())
        assert section[name]["enrichment"].value != pytest.approx(own["inside"].mean() / own["area"].mean(), rel=0.02)


def test_a_blank_map_is_not_free_of_a_confounder_it_says_nothing_of(model, tmp_path_factory, store):
    source = shortcut_source(store.path, "Cardiomegaly", Tag("marker"), positives=0.5)
    tagged = prepare(source, tmp_path_factory.mktemp("blank") / "tagged", store.size, progress=False)
    rows = tagged.split("train")
    local = evaluate(model, Blank(), tagged, rows, model.chosen, perturbed=1, **QUICK).metrics["confounder"]["local"]
    found = local["Cardiomegaly"]
    assert np.isnan([found["sensitivity"].value, found["inside"].value]).all() and found["blank"] == found["images"] > 0


def test_few_images_have_no_interval_of_how_well_the_sum_predicts_the_logit(model, store, judged):
    few = evaluate(model, model, store, store.split("train"), model.chosen, perturbed=3, **QUICK).metrics
    found = few["faithfulness"]["mean"]["sum_predicts_logit"]["r2"]
    assert found.value == pytest.approx(1, abs=1e-6) and np.isnan([found.low, found.high]).all()
    assert not np.isnan(judged.metrics["faithfulness"]["mean"]["sum_predicts_logit"]["r2"].low)
