"""attrinet compare: from run folders to tables and pictures; what cannot be made is named, what is wrong refused."""

import csv
import json
import shutil
import xml.etree.ElementTree as ET
from dataclasses import replace

import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from attrinet.baselines.resnet import ResNet50
from attrinet.cli import cli
from attrinet.data.phantom import phantom_source
from attrinet.data.prepare import prepare
from attrinet.data.shortcut import shortcut_source
from attrinet.data.store import Store
from attrinet.errors import AttrinetError
from attrinet.folder import save_model
from attrinet.nets.attrinet import AttriNet
from attrinet.train.config import Config, dump_config

FINDINGS = ("Cardiomegaly", "Edema")
FIGURES = (7, 8, 10, 11, 12, 13, 14, 15, 16, 17)


def run(work, name, store, seed=0, kind="attrinet", evaluations=((),), mode="none", **losses):
    """A run folder as training leaves it, with weights as they were drawn, and its evaluations."""
    torch.manual_seed(seed)
    model = AttriNet(FINDINGS, 32, width=2) if kind == "attrinet" else ResNet50(FINDINGS, 32, width=2, depth=18)
    config = Config()
    config = replace(
        config, data=replace(config.data, store=str(store.path)), guidance=replace(config.guidance, mode=mode),
        model=replace(config.model, kind=kind, **({} if kind == "attrinet" else {"depth": 18})),
        losses=replace(config.losses, **losses), run=replace(config.run, seed=seed),
    )
    logits = model.eval().logits(store.batch(store.split("test")))
    thresholds = dict(zip(FINDINGS, logits.sigmoid().median(0).values.tolist(), strict=True))
    save_model(model, work / name / "best", thresholds=thresholds, preprocessing=store.preprocessing)
    (work / name / "config.yaml").write_text(dump_config(config))
    for options in evaluations:
        attrinet("evaluate", work / name, "--draws", 20, "--grids", 4, "--perturbed", 1, "--quiet",
                 *options)
    return work / name


def attrinet(*arguments):
    done = CliRunner().invoke(cli, [str(a) for a in arguments])
    if done.exception:
        raise done.exception
    return done.output


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def store(work):
    return prepare(phantom_source(90, 32, seed=3), work / "store", 32, progress=False)


@pytest.fixture(scope="module")
def runs(work, store):
    tagged = prepare(shortcut_source(store.path, "Cardiomegaly"), work / "tagged", 32, progress=False)
    return [
        run(work, "plain", store), run(work, "again", store, seed=1), run(work, "guided", store, mode="mixed"),
        run(work, "bare", store, adversarial=0.0, l1=0.0, center=0.0),
        run(work, "black", store, kind="resnet50", evaluations=((), ("--explainer", "gradcam", "--limit", 4))),
        run(work, "tag", tagged),
    ]


@pytest.fixture(scope="module")
def made(work, runs):
    output = attrinet("compare", *runs, "--out", work / "out", "--quiet")
    return work / "out", output


def test_all_tables_and_figures_are_there_as_csv_markdown_and_vectors(made):
    out, _ = made
    for number in range(2, 9):
        assert (out / f"tables/table{number}.md").exists() and (out / f"tables/table{number}.csv").exists()
    for number in FIGURES:
        assert ET.parse(out / f"figures/figure{number}.svg").getroot().tag.endswith("svg"), number
        assert (out / f"figures/figure{number}.pdf").read_bytes().startswith(b"%PDF"), number


def test_the_index_links_everything_and_says_what_went_in_and_what_is_missing(made, store):
    out, output = made
    page = (out / "index.md").read_text()
    for path in [*out.glob("tables/*"), *out.glob("figures/*"), out / "comparisons.csv"]:
        assert f"({path.relative_to(out)})" in page, path
    assert store.meta["checksum"] in page and "Attri-Net, guidance mixed" in page and "model.depth=18" in page
    assert "- Table 4, rows + adversarial, + L1" in page and "- Figure" not in page.split("## Not made")[1]
    assert "not made, or not every row, for want of runs: Table " in output and "Figure" not in output
    assert "explained: 4 a finding" in page
    assert "not all judged on the same images: there are 2 test sets" in output


def test_seeds_are_one_row_and_the_tagged_store_is_a_table_of_its_own(made):
    out, _ = made
    rows = list(csv.DictReader((out / "tables/table2.csv").open()))
    own = [r["seed"] for r in rows if r["row"] == "Attri-Net" and r["test_set"] == "store test"]
    assert own == ["0", "1", "mean"]
    assert {r["test_set"] for r in rows} == {"store test", "tagged test"}
    pairs = list(csv.DictReader((out / "comparisons.csv").open()))
    assert {r["measure"] for r in pairs} == {"auc", "class_sensitivity", "disease_sensitivity"}
    assert all(r["test_set"] == "store test" for r in pairs)


def test_phantoms_never_stand_beside_published_numbers(work, runs, made):
    out, _ = made
    assert "ublished" not in (out / "tables/table2.csv").read_text() + (out / "tables/table3.md").read_text()
    with pytest.raises(AttrinetError, match="holds images of 'phantom', not of CheXpert"):
        attrinet("compare", runs[0], "--out", work / "no", "--dataset", "chexpert")
    with pytest.raises(AttrinetError, match="tagged: holds images of 'phantom'"):
        attrinet("compare", runs[-1], "--out", work / "no", "--dataset", "chexpert")
    assert not (work / "no").exists()


def test_without_its_store_a_run_still_gives_tables_and_figures_are_named_as_missing(work, runs, tmp_path):
    alone = tmp_path / "plain"
    shutil.copytree(runs[0], alone)
    metrics = alone / "evaluation/metrics.json"
    metrics.write_text(metrics.read_text().replace(str(work / "store"), str(tmp_path / "gone")))
    output = attrinet("compare", alone, "--out", tmp_path / "out", "--quiet", "--dataset", "chexpert")
    assert (tmp_path / "out/tables/table8.csv").exists() and not list((tmp_path / "out/figures").iterdir())
    (line,) = [line for line in output.splitlines() if "gone: no store found" in line]
    assert all(f"Figure {number}" in line for number in FIGURES)
    assert "| 0.873 |" not in (tmp_path / "out/tables/table2.md").read_text()  # a mean over other findings
    assert "| 0.914 |" in (tmp_path / "out/tables/table5.md").read_text()  # the caller says what it was
    metrics.write_text(metrics.read_text().replace('"split": "test"', '"split": "valid"'))
    attrinet("compare", alone, "--out", tmp_path / "valid", "--quiet", "--dataset", "chexpert")
    assert "published" not in (tmp_path / "valid/tables/table5.md").read_text()
    assert "that it is of CheXpert is taken from --dataset" in (tmp_path / "out/index.md").read_text()


def test_a_folder_that_is_no_run_or_was_not_evaluated_is_an_error_that_says_so(work, runs, tmp_path):
    with pytest.raises(AttrinetError, match="nowhere: no run folder"):
        attrinet("compare", runs[0], work / "nowhere", "--out", tmp_path / "x")
    (tmp_path / "new").mkdir()
    shutil.copy(runs[0] / "config.yaml", tmp_path / "new")
    with pytest.raises(AttrinetError, match="new: not evaluated yet; run attrinet evaluate"):
        attrinet("compare", tmp_path / "new", "--out", tmp_path / "x")
    (tmp_path / "new/evaluation").mkdir()
    (tmp_path / "new/evaluation/metrics.json").write_text("{}")
    with pytest.raises(AttrinetError, match="lacks 'auc'"):
        attrinet("compare", tmp_path / "new", "--out", tmp_path / "x")


def test_the_same_images_with_other_labels_are_another_test_set(work, store, runs, tmp_path):
    other = tmp_path / "other" / "store"
    shutil.copytree(store.path, other)
    manifest = pd.read_parquet(other / "manifest.parquet")
    row = manifest.index[manifest["split"] == "test"][0]
    manifest.loc[row, "Edema"] = 1 - manifest.loc[row, "Edema"]
    manifest.to_parquet(other / "manifest.parquet")
    relabelled = run(tmp_path, "relabelled", Store.open(other), seed=2)
    attrinet("compare", runs[0], relabelled, "--out", tmp_path / "out", "--quiet")
    rows = list(csv.DictReader((tmp_path / "out/tables/table2.csv").open()))
    sets = {r["test_set"] for r in rows}
    assert len(sets) == 2 and all(name.startswith(f"store test {store.meta['checksum'][:8]} ") for name in sets)
    assert not list(csv.DictReader((tmp_path / "out/comparisons.csv").open()))
    shutil.copy(store.path / "manifest.parquet", other / "manifest.parquet")  # changed after the evaluation
    output = attrinet("compare", relabelled, "--out", tmp_path / "again", "--quiet")
    (line,) = [line for line in output.splitlines() if "holds other labels, annotations or another split" in line]
    assert all(f"Figure {number}" in line for number in FIGURES)


def test_an_evaluation_of_other_weights_is_refused(work, runs, tmp_path):
    black = shutil.copytree(runs[4], tmp_path / "black")
    metrics = black / "evaluation-gradcam/metrics.json"
    metrics.write_text(json.dumps(json.loads(metrics.read_text()) | {"weights": "0" * 16}))
    with pytest.raises(AttrinetError, match="black/evaluation-gradcam: is of other weights than .*black has now"):
        attrinet("compare", black, "--out", tmp_path / "out")


def test_an_evaluation_of_other_thresholds_is_refused(work, runs, tmp_path):
    black = shutil.copytree(runs[4], tmp_path / "black")
    attrinet("evaluate", black, "--draws", 5, "--set-thresholds", "--quiet")  # leaves evaluation-gradcam as it was
    with pytest.raises(AttrinetError, match="black/evaluation-gradcam: is of other thresholds than .*black has now"):
        attrinet("compare", black, "--out", tmp_path / "out")


def test_models_of_other_training_data_are_no_seeds_of_one_method(work, store, runs, tmp_path):
    elsewhere = shutil.copytree(runs[1], tmp_path / "elsewhere")  # seed 1 of the plain method
    for run, images in ((shutil.copytree(runs[0], tmp_path / "plain"), "a"), (elsewhere, "b")):
        (run / "best/training.json").write_text(json.dumps({"data": {"images": images, "truth": "t"}}))
    attrinet("compare", tmp_path / "plain", elsewhere, "--out", tmp_path / "out", "--quiet")
    rows = list(csv.DictReader((tmp_path / "out/tables/table2.csv").open()))
    names = {r["row"] for r in rows if r["row"].startswith(f"Attri-Net (data.store={store.path} ")}
    assert len(names) == 2 and "Attri-Net" not in {r["row"] for r in rows}
