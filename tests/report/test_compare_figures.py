"""Figures show the image the rule names, what is wrong in red, and come out the same twice."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.patches import Rectangle

from attrinet.data.shortcut import Tag
from attrinet.errors import AttrinetError
from attrinet.nets.attrinet import GlobalExplanation
from attrinet.report import compare_figures
from attrinet.report.compare_drawing import WRONG, Tile, draw, save
from attrinet.report.compare_figures import centers_figure, grid_figure
from attrinet.report.compare_runs import methods_by_test
from attrinet.report.compare_scene import Scene
from comparing import judged


class Annotated:
    """A store of which some images have a known lesion."""

    ids, findings = np.array(["i0", "i1", "i2", "i3"], dtype=object), ("Cardiomegaly", "Edema")

    def __init__(self, *rows):
        self.rows = rows

    def mask(self, row, finding):
        return np.ones((4, 4), bool) if row in self.rows else None


def scene(*tables, store=None):
    evaluations = []
    for k, (labels, probabilities) in enumerate(tables):
        one = judged(schedule__steps=k + 1)
        one.__dict__["predictions"] = pd.DataFrame({
            "id": [f"i{n}" for n in range(len(labels))], "patient": "p", "finding": "Edema",
            "label": pd.array(labels, dtype="Int8"), "probability": probabilities,
            "called": [p >= 0.5 for p in probabilities]})
        evaluations.append(one)
    (methods,) = methods_by_test(evaluations).values()
    return Scene(methods, store, None, None, None), methods


def test_the_image_all_models_are_surest_and_right_of_is_shown():
    labels = [1, 1, 1, 0]
    # i0 is called by one model alone; of i1 and i2 the second has the higher mean
    chosen, methods = scene((labels, [0.99, 0.6, 0.7, 0.9]), (labels, [0.45, 0.6, 0.7, 0.1]))
    assert chosen.choose(methods, "Edema") == "i2"
    assert chosen.choose(methods, "Edema", besides=["i2"]) == "i1"
    assert chosen.choose(methods, "Edema", besides=["i1", "i2"]) == "i0"
    assert chosen.choose(methods, "Edema", False) == "i3"


def test_a_model_counts_once_however_many_explainers_it_has():
    labels, run = [1, 1], Path("runs/resnet")
    evaluations = [judged(explainer=name, run=run, model__kind="resnet50") for name in ("gradcam", "lime")] + [judged()]
    for one, probabilities in zip(evaluations, ([0.9, 0.6], [0.9, 0.6], [0.5, 0.9]), strict=True):
        one.__dict__["predictions"] = pd.DataFrame({
            "id": ["i0", "i1"], "patient": "p", "finding": "Edema", "label": pd.array(labels, dtype="Int8"),
            "probability": probabilities, "called": True})
    (methods,) = methods_by_test(evaluations).values()
    assert len(methods) == 3
    assert Scene(methods, None, None, None, None).choose(methods, "Edema") == "i1"  # 0.75 against 0.7


def test_the_grid_shown_is_one_that_was_measured():
    there, (method,) = scene(([1, 1, 0, 0, 0, 0], [0.9, 0.8, 0.1, 0.2, 0.3, 0.4]))
    measured = pd.DataFrame({"id": ["i1"], "finding": "Edema", "negative_1": ["i5"], "negative_2": ["i2"],
                             "negative_3": ["i4"]})  # of a --limit that left i0 out
    method.first.__dict__["grids"] = measured
    there.__dict__["rows"] = {f"i{k}": k for k in range(6)}
    there.__dict__["findings"] = ["Edema"]
    method.first.metrics["auc"] = {"Edema": method.first.metrics["auc"]["Edema"]}
    shown = []

    def evidence(method, row, finding):
        shown.append(row)
        return np.full((4, 4), 1.0 + row)

    object.__setattr__(there, "evidence", evidence)
    object.__setattr__(there, "image", lambda row: np.zeros((4, 4)))
    _, caption = grid_figure(there)
    assert shown == [1, 5, 2, 4] and f"{2 / (2 + 6 + 3 + 5):.3f}; chance is 0.25" in caption
    method.first.__dict__["grids"] = None
    with pytest.raises(AttrinetError, match="has no grids.parquet; run attrinet evaluate again"):
        grid_figure(there)


TAGGED = SimpleNamespace(size=32, meta={"adapter": "shortcut",
                                        "options": {"finding": "Cardiomegaly", "tag": vars(Tag())}})
LEVEL = {"Cardiomegaly": 1.0, "Edema": 2.0, "Atelectasis": 3.0}


def drawn_centers(monkeypatch, *methods):
    """Rows of tiles of Figure 11, their names and the caption; every centre is flat, of the level of its finding."""
    kept = {}

    def learned(one):
        planes = torch.stack([torch.full((32, 32), LEVEL[f]) for f in one.findings])
        out = GlobalExplanation(tuple(one.findings), planes, -planes, planes)
        return SimpleNamespace(global_explanation=lambda: out), None

    monkeypatch.setattr(compare_figures, "draw", lambda rows, names, *_: kept.update(rows=rows, names=names))
    (together,) = methods_by_test(methods).values()
    _, caption = centers_figure(Scene(together, TAGGED, learned, None, None))
    return kept["rows"], kept["names"], caption


def test_centres_of_models_with_other_findings_stand_in_the_row_of_their_own(monkeypatch):
    unguided = judged(findings=("Atelectasis", "Cardiomegaly", "Edema"))
    guided = judged(findings=("Edema", "Cardiomegaly"), guidance__mode="shortcut")
    rows, names, _ = drawn_centers(monkeypatch, unguided, guided)
    assert names == ["Cardiomegaly", "Edema"]
    for name, tiles in zip(names, rows, strict=True):
        assert [np.abs(tile.picture).max() for tile in tiles] == [LEVEL[name]] * 6


def test_centres_are_of_a_model_without_guidance_and_one_with_it_whatever_else_was_trained(monkeypatch):
    ablated, plain, again = judged(losses__l1=0.0), judged(seed=4), judged(seed=5, schedule__steps=7)
    _, _, caption = drawn_centers(monkeypatch, ablated, plain, again, judged(seed=6, guidance__mode="shortcut"))
    assert "(a) Attri-Net (schedule.steps=100000) (seed 4)" in caption
    assert "(b) Attri-Net, guidance shortcut (seed 6)" in caption


def test_unknown_labels_and_images_without_a_lesion_are_not_chosen():
    chosen, methods = scene(([None, 1, 1, None], [0.9, 0.8, 0.7, 0.1]), store=Annotated(0, 2))
    assert chosen.choose(methods, "Edema") == "i1"
    assert chosen.choose(methods, "Edema", annotated=True) == "i2"
    assert chosen.choose(methods, "Edema", False) is None


def test_a_wrong_call_is_said_and_an_unknown_label_never_is():
    chosen, (method,) = scene(([1, 0, None], [0.2, 0.3, 0.9]))
    assert [chosen.verdict(method, f"i{k}", "Edema")[2] for k in range(3)] == [True, False, False]


def test_evidence_is_the_positive_part_of_the_maps_of_the_finding_asked_for():
    maps = {"Edema": [[1.0, -2.0]], "Cardiomegaly": [[-3.0, 4.0]]}

    class Model:
        findings = ("Edema", "Cardiomegaly")  # not in the order of the evaluation

        def attribute(self, images, finding):
            return images[:, 0] * torch.tensor(maps[self.findings[finding]])

    class Images:
        def batch(self, rows, device):
            return torch.tensor(rows).reshape(-1, 1, 1, 1) * torch.ones(1, 1, 1, 2)

    _, (method,) = scene(([1], [0.9]))
    there = Scene([method], Images(), lambda one: (Model(), Model()), None, None)
    np.testing.assert_array_equal(there.evidence(method, 2, "Edema"), [[2, 0]])
    np.testing.assert_array_equal(there.evidence(method, 3, "Cardiomegaly"), [[0, 12]])


def test_frames_boxes_and_outlines_are_drawn_where_a_tile_says_so():
    mask = np.zeros((8, 8), bool)
    mask[2:4, 3:6] = True
    fig = draw([[Tile(np.zeros((8, 8)), frame=WRONG, box=mask, text="0.7"), Tile(np.ones((8, 8)), half=2.0), None]],
               ["row"], ["a", "b", "c"], "scale", ("−2", "0", "+2"), -1.0)
    first, second, third, bar = fig.axes
    assert first.spines["left"].get_visible() and not second.spines["left"].get_visible()
    (box,) = [p for p in first.patches if isinstance(p, Rectangle)]
    assert box.get_bbox().bounds == pytest.approx((2, 1, 4, 3))
    assert second.images[0].get_clim() == (-2, 2) and not third.images
    assert bar.get_xlim() == (-1, 1) and [t.get_text() for t in bar.get_xticklabels()] == ["−2", "0", "+2"]


def test_the_same_figure_is_the_same_file(tmp_path):
    image = np.random.default_rng(0).random((8, 8)) * 2 - 1
    for name in ("a", "b"):
        fig = draw([[Tile(image, outline=image > 0.5)]], ["row"], ["title"], "scale")
        assert save(fig, tmp_path, name) == [f"{name}.svg", f"{name}.pdf"]
    for suffix in ("svg", "pdf"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
