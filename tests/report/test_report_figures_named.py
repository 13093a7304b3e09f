"""Of several findings and images, every figure and every picture of a report is of the one it names."""

import html
import re

import numpy as np
import pandas as pd
import pytest
import torch

from attrinet.data.phantom import phantom_source
from attrinet.data.prepare import prepare
from attrinet.facts import Facts
from attrinet.nets.attrinet import AttriNet
from attrinet.report import figures
from attrinet.report.build import Evaluation, calls_table, roc_picture
from attrinet.report.cases import against_lesions, cases_picture, explained
from attrinet.report.examples import Example, Failures
from attrinet.report.side_by_side import Column, build_side_by_side, config_differences, disagreements
from comparing import interval

FINDINGS = ("Cardiomegaly", "Edema")


def predictions(finding, labels, probabilities, called=None):
    return pd.DataFrame({"id": [f"i{k}" for k in range(len(labels))], "finding": finding,
                         "label": pd.array(labels, dtype="Int8"), "probability": probabilities,
                         "called": [p >= 0.5 for p in probabilities] if called is None else called})


# ---- tables and curves


@pytest.fixture
def metrics():
    """Every figure another one."""
    return {
        "auc": {"Cardiomegaly": interval(0.91), "Edema": interval(0.82), "mean": interval(0.865)},
        "average_precision": {"Cardiomegaly": interval(0.43), "Edema": interval(0.54)},
        "calls": {"Cardiomegaly": {"threshold": 0.31, "sensitivity": interval(0.61), "specificity": interval(0.72)},
                  "Edema": {"threshold": 0.42, "sensitivity": interval(0.53), "specificity": interval(0.84)}},
        "store_checksum": "c0ffee", "split": "test", "where": [], "images": 5, "patients": 5,
        "provenance": {"commit": "abc"},
    }


def test_the_table_of_calls_has_every_finding_s_own_counts_and_auc(metrics):
    table = pd.concat([predictions("Cardiomegaly", [1, 1, 1, 0, None], [0.5] * 5),
                       predictions("Edema", [1, 0, 0, None, None], [0.5] * 5)])
    rows = calls_table(metrics, table, FINDINGS)
    keys = ("finding", "present", "absent", "unknown", "auc", "threshold")
    assert [[row[key] for key in keys] for row in rows] == [
        ["Cardiomegaly", 3, 1, 1, interval(0.91), 0.31], ["Edema", 1, 2, 2, interval(0.82), 0.42]]


def test_a_roc_curve_rises_to_sensitivity_over_the_false_alarms_of_its_own_finding(metrics):
    table = pd.concat([predictions("Cardiomegaly", [1, 1, 0, 0, None], [0.9, 0.3, 0.4, 0.2, 0.99]),
                       predictions("Edema", [1, 1, 0, 0, None], [0.9, 0.1, 0.95, 0.2, 0.99])])
    (axes,) = roc_picture(table, metrics, FINDINGS).axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("1 − specificity", "sensitivity")
    points = {line.get_label(): set(zip(*map(tuple, line.get_data()), strict=True)) for line in axes.lines}
    assert {(0, 0.5), (0.5, 1)} <= points["Cardiomegaly  0.91"]
    assert {(0.5, 0.5), (1, 1)} <= points["Edema  0.82"] and (0, 0.5) not in points["Edema  0.82"]


# ---- pictures of single images


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    source = phantom_source(60, 32, seed=3)
    return prepare(source, tmp_path_factory.mktemp("data") / "store", 32, progress=False).select(FINDINGS)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return AttriNet(FINDINGS, 32, width=4, critic=False).eval()


@pytest.fixture(autouse=True)
def whole_figures(monkeypatch):
    """A picture is its figure here, to look into."""
    monkeypatch.setattr(figures, "data_uri", lambda fig: fig)


@pytest.fixture
def row_of(store):
    return {id: row for row, id in enumerate(store.ids)}


def ill(store, finding, count):
    """The last images with a finding, never the store's first."""
    rows = np.flatnonzero(store.labels[:, store.findings.index(finding)] == 1)[-count:]
    assert len(rows) == count and 0 not in rows
    return [int(row) for row in rows]


def image(store, row):
    return store.batch([row])[0, 0].numpy()


def pixels(axes):
    return np.asarray(axes.images[0].get_array())


@pytest.mark.parametrize("finding", FINDINGS)
def test_an_explained_example_is_the_image_it_names_its_own_finding_first(model, store, row_of, finding):
    for row in ill(store, finding, 2):
        said = explained(model, store, row_of, Example(store.ids[row], finding, "why"))
        lines = [axes for axes in said["picture"].axes if axes.get_ylabel()]
        out = model.explain(store.batch([row]))
        c = FINDINGS.index(finding)
        assert lines[0].get_ylabel().startswith(f"{finding}\np = {float(out.probabilities[0, c]):.2f} ")
        assert said["id"] == store.ids[row] and finding in said["present"].split(", ") and said["outlined"]
        np.testing.assert_array_equal(pixels(lines[0]), image(store, row))
        np.testing.assert_array_equal(pixels(said["picture"].axes[2]), out.attribution[0, c].numpy())
        for axes in lines[1:]:
            np.testing.assert_array_equal(pixels(axes), image(store, row))


def test_a_black_box_s_example_is_the_image_it_names_with_its_finding_s_probability(store, row_of):
    class BlackBox:
        findings, device = FINDINGS, "cpu"

        def logits(self, images):
            return torch.tensor([[-3.0, 2.0]])

    (row,) = ill(store, "Edema", 1)
    said = explained(BlackBox(), store, row_of, Example(store.ids[row], "Edema", "why"))
    (axes,) = said["picture"].axes
    assert [text.get_text() for text in axes.texts] == ["Edema\np = 0.88"] and said["outlined"]
    np.testing.assert_allclose(pixels(axes)[:32, :32, 0], (image(store, row) + 1) / 2)


@pytest.mark.parametrize("finding", FINDINGS)
def test_failures_are_the_images_they_name_with_their_own_finding_s_contributions(model, store, row_of, finding):
    rows = ill(store, finding, 3)
    cases = [(store.ids[row], 0.1 * k) for k, row in enumerate(rows, start=1)]
    out = cases_picture(model, store, row_of, Failures(finding, cases[:2], cases[2:], 2, 1, 3, 3))
    values = model.attribute(store.batch(rows), FINDINGS.index(finding)).detach().numpy() * 1e3
    for kind, part in (("missed", slice(0, 2)), ("alarms", slice(2, 3))):
        axes = out[kind].axes[0]
        assert [text.get_text() for text in axes.texts] == [f"{id}\np = {p:.2f}" for id, p in cases[part]]
        canvas, half = pixels(axes), figures.limit(values[part])
        for k, (row, value) in enumerate(zip(rows[part], values[part], strict=True)):
            left = 33 * k
            np.testing.assert_allclose(canvas[:32, left : left + 32, 1], (image(store, row) + 1) / 2)
            below = figures.blend(image(store, row), value, half)
            np.testing.assert_allclose(canvas[33:65, left : left + 32], below, atol=1e-6)
    healthy = np.flatnonzero((store.labels == 0).all(1))[:1]
    plain = cases_picture(model, store, row_of, Failures(finding, [], [(store.ids[healthy[0]], 0.9)], 0, 1, 3, 3))
    assert out["outlined"] and plain["missed"] is None and not plain["outlined"]


def test_evidence_against_lesions_is_of_the_image_and_the_finding_above_it(model, store, row_of):
    named = [(finding, row) for finding in FINDINGS for row in ill(store, finding, 1)]
    chosen = pd.DataFrame([{"id": store.ids[row], "finding": finding, "inside": 0.25, "area": 0.1}
                           for finding, row in named])
    fig = against_lesions(model, store, row_of, chosen, columns=2)
    evidence = [model.attribute(store.batch([row]), FINDINGS.index(finding))[0].detach().clamp(min=0).numpy() * 1e3
                for finding, row in named]
    half = figures.limit(np.stack(evidence))
    for k, (finding, row) in enumerate(named):
        above, below = fig.axes[k], fig.axes[k + 2]
        assert above.get_title() == f"{finding}\n25% in 10.0% of the area"
        np.testing.assert_array_equal(pixels(above), image(store, row))
        expected = figures.blend(image(store, row), evidence[k], half)
        np.testing.assert_allclose(pixels(below), expected, atol=1e-6)


# ---- runs side by side


def column(title, metrics, tables, **config):
    facts = Facts(title=title, kind="Attri-Net", findings=tuple(dict.fromkeys(tables["finding"])), image_size=32,
                  parameters=1, explains_itself=True, config=config, training={}, store={}, metrics=metrics, views={},
                  names_patients=True, shared_patients=None, own_store=True, phantoms=False,
                  thresholds_from="validation")
    return Column(facts, Evaluation(metrics, tables, pd.DataFrame()), None, [])


@pytest.fixture
def columns(metrics):
    """Two runs judged on five images: of Cardiomegaly two calls differ, of Edema one; and one that knows Edema only."""
    labels = [1, 1, 0, 0, None]

    def calls(**findings):
        return pd.concat([predictions(name, labels, [0.5] * 5, [bool(int(on)) for on in called])
                          for name, called in findings.items()])

    other = {**metrics, "calls": {"Cardiomegaly": {"sensitivity": interval(0.15), "specificity": interval(0.26)},
                                  "Edema": {"sensitivity": interval(0.37), "specificity": interval(0.48)}}}
    return [column("one", metrics, calls(Cardiomegaly="11000", Edema="11100"), losses={"l1": 1.0, "center": 0.01}),
            column("two", other, calls(Cardiomegaly="00000", Edema="11110"), losses={"l1": 0.0, "center": 0.01}),
            column("three", {**metrics, "auc": {}, "calls": {}}, calls(Edema="00010").iloc[::-1], run={"seed": 3})]


def rows_after(page, heading):
    """Cells of the table below a heading, a list a line."""
    table = re.search(rf">{heading}</h\d>.*?<table>(.*?)</table>", page, re.S)[1]
    return [[html.unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line, re.S)]
            for line in re.findall(r"<tr.*?</tr>", table, re.S)]


def test_calls_that_differ_are_counted_for_every_pair_of_runs_and_every_finding(columns):
    assert list(disagreements(columns, FINDINGS)) == [
        ("one", "two", [2, 1]), ("one", "three", [None, 4]), ("two", "three", [None, 3])]


def test_options_that_differ_are_shown_with_every_run_s_value_and_others_are_not(columns):
    assert config_differences(columns[:2]) == [("losses.l1", ["1.0", "0.0"])]
    assert dict(config_differences(columns))["run.seed"] == ["–", "–", "3"]
    assert config_differences(columns[:1] * 2) == []


def test_every_table_of_runs_side_by_side_shows_what_its_heading_says(columns, tmp_path):
    page = build_side_by_side(tmp_path / "runs.html", columns).read_text()
    head = ["finding", "one", "two", "three"]
    assert rows_after(page, "AUC")[:3] == [head, ["Cardiomegaly", *["0.910 [0.900, 0.920]"] * 2, "–"],
                                           ["Edema", *["0.820 [0.810, 0.830]"] * 2, "–"]]
    assert rows_after(page, "Sensitivity") == [head, ["Cardiomegaly", "0.61 [0.60, 0.62]", "0.15 [0.14, 0.16]", "–"],
                                               ["Edema", "0.53 [0.52, 0.54]", "0.37 [0.36, 0.38]", "–"]]
    assert rows_after(page, "Specificity") == [head, ["Cardiomegaly", "0.72 [0.71, 0.73]", "0.26 [0.25, 0.27]", "–"],
                                               ["Edema", "0.84 [0.83, 0.85]", "0.48 [0.47, 0.49]", "–"]]
    assert rows_after(page, "Calls that differ") == [
        ["runs", *FINDINGS], ["one / two", "2", "1"], ["one / three", "–", "4"], ["two / three", "–", "3"]]
    assert ["losses.l1", "1.0", "0.0", "–"] in rows_after(page, "Options that differ")
