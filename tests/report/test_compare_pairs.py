"""Every two methods are compared on the images both were judged on, equal seeds with each other."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_rel

from attrinet.report.compare_pairs import comparisons, seed_pairs, write_comparisons
from attrinet.report.compare_runs import Method, methods_by_test
from comparing import judged


def lines(*evaluations):
    (methods,) = methods_by_test(evaluations).values()
    names = ("a", "b", "seed_a", "seed_b", "measure", "finding", "difference", "low", "high", "pairs", "t", "p")
    return pd.DataFrame(list(comparisons(methods)), columns=names)


def test_the_difference_of_two_methods_is_that_of_their_scores_and_its_t_that_of_scipy():
    a, b = judged(inside=[0.1, 0.2, 0.1, 0.4, 0.3, 0.2, 0.2, 0.1]), judged(
        inside=[0.2, 0.6, 0.4, 0.7, 0.4, 0.6, 0.5, 0.2], guidance__mode="mixed")
    found = lines(a, b)
    one = found[(found["measure"] == "disease_sensitivity") & (found["finding"] == "Edema")].iloc[0]
    x, y = (np.array(t.localisation["inside"][1::2]) for t in (a, b))
    assert one["difference"] == pytest.approx((y - x).mean()) and np.isnan(one["low"])  # of four patients
    assert (one["t"], one["p"], one["pairs"]) == pytest.approx((*ttest_rel(y, x), 4))
    mean = found[(found["measure"] == "disease_sensitivity") & (found["finding"] == "mean")].iloc[0]
    assert mean["difference"] == pytest.approx((b.localisation["inside"] - a.localisation["inside"]).mean())
    assert mean["t"] == mean["p"] == "" and mean["pairs"] == 4


def test_images_count_as_pairs_of_a_finding_where_its_label_is_known():
    a, b = judged(), judged(guidance__mode="mixed")
    for one in (a, b):
        table = one.predictions
        table.loc[(table["finding"] == "Edema") & (table["id"] == "i0"), "label"] = pd.NA
    found = lines(a, b).set_index(["measure", "finding"])["pairs"]["auc"]
    assert found.to_dict() == {"Cardiomegaly": 4, "Edema": 3, "mean": 4}


def test_auc_is_compared_once_a_model_not_once_an_explainer():
    kind = {"model__kind": "resnet50", "run": Path("runs/resnet")}
    found = lines(judged(**kind), judged(explainer="gradcam", **kind), judged(explainer="lime", **kind), judged())
    auc = found[found["measure"] == "auc"]
    assert list(auc["finding"]) == ["Cardiomegaly", "Edema", "mean"] and set(auc["a"]) == {"ResNet50"}
    assert (auc["difference"] == 0).all()
    pairs = found.loc[found["measure"] == "disease_sensitivity", ["a", "b"]].drop_duplicates()
    assert len(pairs) == 3


def test_grids_are_paired_by_their_positive_image():
    a, b = judged(), judged(guidance__mode="mixed")
    grid = pd.DataFrame({"id": ["i0", "i1"], "patient": ["p0", "p1"], "finding": "Edema", "score": [0.5, 0.6]})
    a.__dict__["grids"] = grid
    b.__dict__["grids"] = grid.assign(id=["i1", "i2"], patient=["p1", "p2"], score=[0.9, 0.1])
    found = lines(a, b)
    one = found[(found["measure"] == "class_sensitivity") & (found["finding"] == "Edema")].iloc[0]
    assert one["difference"] == pytest.approx(0.3) and one["pairs"] == 1


def test_equal_seeds_are_compared_and_a_single_run_with_all():
    def method(*seeds):
        return Method("m", tuple(judged(seed=s) for s in seeds))

    def pairs(a, b):
        return [(x.seed, y.seed) for x, y in seed_pairs(a, b)]

    assert pairs(method(0, 1, 2), method(1, 2, 3)) == [(1, 1), (2, 2)]
    assert pairs(method(0, 1), method(7)) == [(0, 7), (1, 7)]
    assert pairs(method(0, 1), method(2, 3)) == [(0, 2), (1, 3)]


def test_the_file_names_the_test_set_and_says_every_number(tmp_path):
    parts = methods_by_test([judged(), judged(guidance__mode="mixed"), judged(checksum="other")])
    count = write_comparisons(tmp_path / "c.csv", [("one" if len(m) > 1 else "two", m) for m in parts.values()], False)
    rows = list(csv.DictReader((tmp_path / "c.csv").open()))
    assert len(rows) == count and {r["test_set"] for r in rows} == {"one"}
    assert {r["measure"] for r in rows} == {"auc", "disease_sensitivity"}
