"""attrinet evaluate judges any explainer of any model under one protocol, and says in one line what it cannot."""

import itertools
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from attrinet.baselines.bcos import BcosResNet50
from attrinet.baselines.resnet import ResNet50
from attrinet.cli import cli
from attrinet.cli.evaluation_table import summary
from attrinet.data.phantom import phantom_source
from attrinet.data.prepare import prepare
from attrinet.data.shortcut import shortcut_source
from attrinet.errors import AttrinetError, Stopped
from attrinet.evaluation import predict
from attrinet.folder import save_model
from attrinet.nets.attrinet import AttriNet
from attrinet.posthoc.lime import Lime
from comparing import interval

FINDING = "Pleural Effusion"
MODELS = {"resnet": lambda: ResNet50([FINDING], 32, width=4, depth=18),
          "bcos": lambda: BcosResNet50([FINDING], 32, width=4, depth=18),
          "attrinet": lambda: AttriNet([FINDING], 32, width=4, critic=False)}


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A store, and untrained models with thresholds that call half of its images."""
    work = tmp_path_factory.mktemp("work")
    store = prepare(phantom_source(60, 32, seed=4), work / "store", 32, progress=False)
    for name, make in MODELS.items():
        torch.manual_seed(0)
        model = make().eval()
        middle = np.median(predict(model, store.select([FINDING]), store.split("train"), 16))
        save_model(model, work / name, thresholds={FINDING: float(middle)}, preprocessing=store.preprocessing)
    return work


def evaluate(work, run, *arguments):
    done = CliRunner().invoke(cli, [
        "evaluate", str(work / run), "--store", str(work / "store"), "--split", "train", "--draws", "5", "--limit", "4",
        "--device", "cpu", "--quiet", *map(str, arguments),
    ])
    if done.exit_code:
        raise done.exception
    return done.output


@pytest.mark.parametrize("run, name, arguments, folder", [
    ("resnet", "guided_backprop", (), "evaluation-guided_backprop"),
    ("resnet", "gradcam", ("--as-published",), "evaluation-gradcam-published"),
    ("resnet", "lime", ("--as-published",), "evaluation-lime-published"),
    ("resnet", "random", (), "evaluation-random"),
    ("bcos", "gradcam", (), "evaluation-gradcam"),
    ("bcos", "own", (), "evaluation"),
    ("attrinet", "uniform", (), "evaluation-uniform"),
    ("attrinet", "own", (), "evaluation"),
])
def test_each_explainer_has_its_own_folder_and_the_same_tables_and_sections(work, run, name, arguments, folder):
    output = evaluate(work, run, "--explainer", name, *arguments)
    metrics = json.loads((work / run / folder / "metrics.json").read_text())
    own = metrics["explainer"]
    assert own["key"] == name and own["as_published"] == bool(arguments) and metrics["limit"] == 4
    assert own["cost"] >= 0 and own["seconds_per_image"] > 0 and own["explained"] > 0
    assert set(metrics) >= {
        "auc", "average_precision", "calibration", "calls", "class_sensitivity", "disease_sensitivity", "localisation",
        "faithfulness", "deletion", "insertion", "randomisation", "provenance",
    }
    assert "mean" in metrics["randomisation"] and FINDING in metrics["localisation"]
    for table in ("predictions", "localisation", "grids", "perturbation"):
        assert len(pd.read_parquet(work / run / folder / f"{table}.parquet")), table
    assert max(map(len, output.splitlines()[:-1])) <= 120  # the last names the folder
    assert own["name"] in output


def test_gifsplanation_looks_through_an_autoencoder_trained_on_the_store(work):
    arguments = ["train-autoencoder", str(work / "store"), "--out", str(work / "ae"), "--steps", "3", "--quiet"]
    (work / "ae").mkdir()
    (work / "ae" / ".tmpqjql3L").write_text("left by a kill")
    assert CliRunner().invoke(cli, arguments).exit_code == 0
    assert {p.name for p in (work / "ae").iterdir()} == {"autoencoder.json", "autoencoder.safetensors"}
    evaluate(work, "resnet", "--explainer", "gifsplanation", "--autoencoder", work / "ae")
    metrics = json.loads((work / "resnet/evaluation-gifsplanation/metrics.json").read_text())
    assert metrics["explainer"]["cost"] > 2  # measured, on the images it explained


def test_without_an_explainer_a_resnet_is_judged_by_its_predictions_alone(work):
    assert "choose one by --explainer" in evaluate(work, "resnet")
    metrics = json.loads((work / "resnet/evaluation/metrics.json").read_text())
    assert "auc" in metrics and not {"explainer", "localisation", "deletion"} & set(metrics)


def test_on_a_store_with_a_tag_the_share_of_the_evidence_on_it_is_said(work):
    prepare(shortcut_source(work / "store", FINDING), work / "tagged", 32, progress=False)
    output = evaluate(work, "attrinet", "--store", work / "tagged", "--out", work / "on-tagged", "--perturbed", "1")
    found = json.loads((work / "on-tagged/metrics.json").read_text())["confounder"]
    line = next(line for line in output.splitlines() if line.startswith("confounder sensitivity for Pleural Effusion"))
    assert f"positive centre {found['centres'][FINDING]:.3f}" in line
    assert f"maps {found['local'][FINDING]['sensitivity']['value']:.3f}" in line and len(line) <= 120


@pytest.mark.parametrize("run, arguments, words", [
    ("resnet", ("--explainer", "own"), "no explanation of its own"),
    ("resnet", ("--explainer", "grad-cam"), "did you mean 'gradcam'"),
    ("resnet", ("--as-published",), "add --explainer"),
    ("resnet", ("--explainer", "uniform", "--as-published"), "one setting only"),
    ("resnet", ("--explainer", "gifsplanation"), "train-autoencoder"),
    ("resnet", ("--explainer", "gradcam", "--autoencoder", "ae"), "only --explainer gifsplanation"),
    ("resnet", ("--explainer", "gifsplanation", "--autoencoder", "nowhere"), "nowhere.*not found"),
    ("bcos", ("--explainer", "guided_backprop"), "no nn.ReLU"),
    ("attrinet", ("--explainer", "gradcam"), "its own explanation"),
    ("attrinet", ("--explainer", "guided_backprop"), "its own explanation"),
])
def test_what_cannot_be_explained_so_is_said_before_anything_is_computed(work, run, arguments, words, monkeypatch):
    monkeypatch.setattr("attrinet.cli.evaluate.evaluate", lambda *_, **__: pytest.fail("computed something"))
    with pytest.raises(AttrinetError, match=words) as error:
        evaluate(work, run, *arguments)
    assert "\n" not in str(error.value)


def test_grad_cam_as_published_of_a_model_that_never_calls_its_last_convolution_is_refused_in_words(work):
    with pytest.raises(AttrinetError, match="never calls its last convolution.*leave --as-published out"):
        evaluate(work, "bcos", "--explainer", "gradcam", "--as-published", "--limit", "4")


def test_thresholds_are_not_chosen_on_the_images_that_are_judged(work):
    with pytest.raises(AttrinetError, match="--set-thresholds chooses on 'valid'.*leave out --split valid"):
        evaluate(work, "attrinet", "--set-thresholds", "--split", "valid")


def test_a_file_in_place_of_the_folder_is_said_before_anything_is_computed(work, tmp_path, monkeypatch):
    monkeypatch.setattr("attrinet.cli.evaluate.evaluate", lambda *_, **__: pytest.fail("computed something"))
    monkeypatch.setattr("attrinet.cli.evaluate.choose_thresholds", lambda *_: pytest.fail("computed something"))
    (tmp_path / "taken").touch()
    with pytest.raises(AttrinetError, match="taken: cannot be made .* choose another with --out"):
        evaluate(work, "attrinet", "--set-thresholds", "--out", tmp_path / "taken")


def test_an_autoencoder_wants_a_store_with_training_images(work):
    done = CliRunner().invoke(cli, ["train-autoencoder", str(work / "store"), "--out", str(work / "x"), "--steps", "0"])
    assert isinstance(done.exception, AttrinetError) and "--steps 0" in str(done.exception)


class Interrupted(Lime):
    """Stops as by Ctrl-C when it has explained so many images."""

    made, left = 0, None

    def attribute_all(self, images):
        if Interrupted.left == 0:
            raise KeyboardInterrupt
        if Interrupted.left is not None:
            Interrupted.left -= 1
        Interrupted.made += len(images)
        return super().attribute_all(images)


@pytest.fixture
def lime(monkeypatch):
    monkeypatch.setattr("attrinet.posthoc.lime.Lime", Interrupted)
    Interrupted.made, Interrupted.left = 0, None
    return Interrupted


def without_seconds(folder):
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["explainer"].pop("seconds_per_image") > 0
    return metrics, [(folder / f"{name}.parquet").read_bytes() for name in ("localisation", "grids", "perturbation")]


def test_what_was_stopped_goes_on_with_the_maps_it_has_made(work, lime, tmp_path):
    arguments = ("--explainer", "lime", "--as-published", "--out")
    evaluate(work, "resnet", *arguments, tmp_path / "whole")
    whole = lime.made
    assert whole > 10

    lime.made, lime.left = 0, 7
    with pytest.raises(Stopped, match=r"stopped; the maps made so far are kept"):
        evaluate(work, "resnet", *arguments, tmp_path / "stopped")
    (unfinished,) = (tmp_path / "stopped").iterdir()
    kept = sorted(unfinished.glob("*.npz"))
    assert len(kept) == 7  # of the one finding
    kept[0].write_bytes(kept[0].read_bytes()[:100])  # a damaged one is made again

    lime.made, lime.left = 0, None
    evaluate(work, "resnet", *arguments, tmp_path / "stopped")
    assert lime.made == whole - 6
    assert without_seconds(tmp_path / "stopped") == without_seconds(tmp_path / "whole")
    assert not list((tmp_path / "stopped").glob("unfinished*"))


@pytest.mark.parametrize("other", [("bcos", ()), ("resnet", ("--seed", "1"))])
def test_maps_of_another_model_or_seed_are_not_taken(work, lime, tmp_path, other):
    lime.left = 7
    with pytest.raises(Stopped):
        evaluate(work, "resnet", "--explainer", "lime", "--as-published", "--out", tmp_path)
    run, more = other
    for folder in (tmp_path, tmp_path / "undisturbed"):
        lime.left = None
        evaluate(work, run, "--explainer", "lime", "--as-published", "--out", folder, *more)
    assert without_seconds(tmp_path) == without_seconds(tmp_path / "undisturbed")
    assert not list(tmp_path.glob("unfinished*"))


def cells(text, rows):
    """(heading, row) → what stands under it, of every table; columns end where their headings end."""
    found, columns = {}, []
    for line in text.splitlines():
        if line.startswith("  "):
            columns = [(head.group(), head.end()) for head in re.finditer(r"\S+( \S+)*", line)]
        for row in rows:
            if line.startswith(row):
                found |= {(head, row): line[end - 23 : end].strip() for head, end in columns}
    return found


def test_every_figure_stands_under_its_own_heading():
    findings, values = ["Edema", "Pleural Effusion"], itertools.count(1)
    keys, said = [*findings, "mean"], {}

    def measure(heading=None, digits=3, unit="", rows=keys):
        made = {row: float(next(values)) for row in rows}
        if heading:
            said.update({(heading, row): f"{value:.{digits}f}{unit}" for row, value in made.items()})
        return {row: {"value": value, "low": None, "high": None} for row, value in made.items()}

    def together(rows=keys, **measures):
        return {row: {name: each[row] for name, each in measures.items()} for row in rows}

    metrics = {
        "images": 9, "patients": 8, "limit": None,
        "explainer": {"name": "own", "cost": 1.0, "seconds_per_image": 0.5},
        "auc": measure("AUC"), "average_precision": measure("average precision"), "calibration": measure(),
        "calls": together(findings, sensitivity=measure("sensitivity", rows=findings),
                          specificity=measure("specificity", rows=findings)),
        "class_sensitivity": {**{f: {"mean": 0.6, "grids": 3, "blank": 0} for f in findings}, "mean": 0.6},
        "class_sensitivity_interval": measure("class sensitivity"), "class_sensitivity_published": measure(),
        "disease_sensitivity": {
            "annotated": 4, "blank": 0,
            "all": together(inside=measure("disease sensitivity"), inside_published=measure(), area=measure(),
                            enrichment=measure()),
            "true_positives": together(inside=measure(), inside_published=measure(), area=measure(),
                                       enrichment=measure("evidence in lesion", 1, " ×")),
        },
        "localisation": together(pointing_game=measure("pointing game"), iou=measure("IoU")),
        "deletion": measure("deletion"), "insertion": measure("insertion"),
        "faithfulness": {row: {**each, "sum_predicts_logit": {"r2": interval(0.7), "residual": interval(0.9)},
                               "called": 7, "blank": 0}
                         for row, each in together(flips=measure("calls flipped", 2)).items()},
    }
    found = cells(summary(metrics), keys)
    assert found == said | {("sensitivity", "mean"): "–", ("specificity", "mean"): "–"}
    assert "left out" not in summary(metrics)
    metrics["faithfulness"]["mean"]["blank"] = 5
    assert ("without positive evidence, and left out: 0 of 4 annotated maps, 0 of 6 grids, 5 of 7 maps to delete and "
            "insert by") in summary(metrics)


def test_the_evaluation_of_other_images_is_not_overwritten_unasked(work, tmp_path):
    run = shutil.copytree(work / "attrinet", tmp_path / "run")
    evaluate(work, run)
    before = (run / "evaluation" / "metrics.json").read_bytes()
    with pytest.raises(AttrinetError, match=r"holds the evaluation of other images .*'train' of .*--out"):
        evaluate(work, run, "--split", "valid")
    assert (run / "evaluation" / "metrics.json").read_bytes() == before
    evaluate(work, run, "--split", "valid", "--out", tmp_path / "other")
    evaluate(work, run, "--seed", 1)
    assert (run / "evaluation" / "metrics.json").read_bytes() != before
