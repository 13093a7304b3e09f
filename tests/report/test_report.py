"""A report says what the run knows, names what it does not, and needs nothing but itself."""

import copy
import html
import json
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from attrinet.baselines import BASELINES
from attrinet.cli.evaluate import run_evaluation
from attrinet.cli.evaluation_table import summary
from attrinet.cli.run_folder import Run
from attrinet.data.manifest import NO_PATIENTS
from attrinet.data.phantom import phantom_source
from attrinet.data.prepare import prepare
from attrinet.data.shortcut import Tag, shortcut_source
from attrinet.data.store import Store
from attrinet.errors import AttrinetError
from attrinet.facts import changed_since, drawn, gather, shared_patients
from attrinet.folder import ON_VALIDATION, load, save_model
from attrinet.hub import save_pretrained
from attrinet.model_card import markdown, supervision
from attrinet.nets.attrinet import AttriNet
from attrinet.nets.weights import weights_hash
from attrinet.posthoc.build import build
from attrinet.report import build as building
from attrinet.report import figures
from attrinet.report.build import build_report, read_evaluation
from attrinet.report.claim import ITEMS, claim
from attrinet.report.data_card import data_card
from attrinet.report.examples import Example, choose, failures
from attrinet.report.side_by_side import Column, build_side_by_side
from attrinet.train.config import Config, dump_config

LOG = [{"step": 2, "kind": "train", "critic/loss": 1.0, "generator/classification": 0.7, "classifier/loss": 0.7},
       {"step": 2, "kind": "valid", "auc": {"Edema": 0.6}, "mean_auc": 0.6},
       {"step": 4, "kind": "train", "critic/loss": 0.5, "generator/classification": 0.6, "classifier/loss": 0.6},
       {"step": 4, "kind": "valid", "auc": {"Edema": 0.7}, "mean_auc": 0.7}]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """60 phantoms; one label unknown, two images left out for a reason."""
    source = phantom_source(60, 32, seed=3)
    source.manifest.loc[source.manifest.index[source.manifest["split"] == "train"][0], "Edema"] = None
    source.excluded["lateral view"] = 2
    return prepare(source, tmp_path_factory.mktemp("data") / "store", 32, progress=False)


def judged_run(model, store, folder):
    """A run folder with what training and `evaluate` would have left."""
    (folder / "best").mkdir(parents=True)
    config = Config()
    config.data.store = str(store.path)
    saved = {"data": {"store": str(store.path), "contrast": [0.8, 1.4], "brightness": [0.8, 1.1]},
             "run": {"seed": 7, "batch_size": 4, "precision": "fp32"}, "guidance": {"mode": "none"}}
    (folder / "best/training.json").write_text(json.dumps({"step": 4, "best_auc": 0.7, "config": saved}))
    (folder / "config.yaml").write_text(dump_config(config))
    run_evaluation(Run(folder, model.eval(), None), store.select(model.findings), "test", (), folder / "evaluation",
                   draws=10, grids=4, progress=False)
    return folder


@pytest.fixture(scope="module")
def runs(store, tmp_path_factory):
    """An Attri-Net and a ResNet of one finding, judged on the store: name → (model, folder)."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("runs")
    models = {"ours": AttriNet(["Edema"], 32, width=4, critic=False),
              "theirs": BASELINES["resnet50"](["Edema"], 32, width=4, depth=18)}
    return {name: (model, judged_run(model, store, folder / name)) for name, model in models.items()}


def page_of(runs, name, store):
    model, folder = runs[name]
    log = LOG if name == "ours" else []
    return build_report(folder / "report.html", title=name, model=model, store=store, run=folder, log=log,
                        evaluation=folder / "evaluation", config=(folder / "config.yaml").read_text()).read_text()


def test_the_report_of_an_attrinet_has_every_section_and_no_link_to_elsewhere(runs, store):
    page = page_of(runs, "ours", store)
    for name in ("data", "training", "predictions", "local", "evidence", "cases", "failures", "global", "card", "claim",
                 "how"):
        assert f'<h2 id="{name}">' in page
    assert not re.search(r'(src|href)="(?!data:|#)', page) and "@import" not in page and "url(" not in page
    assert "lateral view" in page and "/ 1 ?" in page  # what was left out, and the unknown label
    assert "no patient identifier is in two splits" in page
    assert "Not stated by the run" in page and "licence of the weights" in page
    assert "@media print" in page and "break-inside: avoid" in page


def test_the_report_of_a_black_box_leaves_out_what_it_cannot_show(runs, store):
    page = page_of(runs, "theirs", store)
    assert "has no explanation of its own" in page and "class sensitivity</th>" not in page
    assert 'id="global"' not in page and 'id="training"' not in page
    assert '<h2 id="failures">' in page and '<h2 id="claim">' in page


def test_the_data_card_counts_what_the_manifest_holds(runs, store):
    model, folder = runs["ours"]
    card = data_card(store, gather(model, "ours", run=folder, store=store))
    edema = next(row for row in card["findings"] if row["name"] == "Edema")
    for split, counts in zip(card["splits"], edema["splits"], strict=True):
        rows = store.manifest[store.manifest["split"] == split["name"]]
        assert split["images"] == len(rows) and split["patients"] == rows["patient"].nunique()
        assert counts == {"present": (rows["Edema"] == 1).sum(), "absent": (rows["Edema"] == 0).sum(),
                          "unknown": rows["Edema"].isna().sum()}
    assert card["excluded"] == [("lateral view", 2)] and card["own"]


def test_every_item_of_claim_is_answered_with_its_source_or_left_to_the_authors(runs, store):
    model, folder = runs["ours"]
    answers, rest = claim(gather(model, "ours", run=folder, store=store))
    assert sorted([a.number for a in answers] + [number for number, _ in rest]) == list(range(1, 45)) == list(ITEMS)
    said = {a.number: a for a in answers}
    assert "seed 7" in said[24].text and said[24].source == "config.yaml"
    assert "1 unknown labels" in said[12].text and "2 lateral view" in said[35].text
    assert "step 4" in said[26].text
    assert {2, 3, 4, 5, 11, 34, 36, 40, 41, 44}.isdisjoint(said)  # only people can answer these


def test_marks_of_markdown_and_html_in_names_are_shown_by_the_model_card(runs, store):
    model, folder = runs["ours"]
    facts, name = gather(model, "ours", run=folder, store=store), "Mass <3 cm | R&D"
    odd = replace(facts, title=name, findings=(name, "Pleural_Thickening"),
                  metrics=facts.metrics | {"auc": {name: facts.metrics["auc"]["Edema"]}})
    card = markdown(odd)
    shown = r"Mass &lt;3 cm \| R&amp;D"
    assert f"# {shown}\n" in card and f"({shown}, Pleural_Thickening)" in card and f"**AUC, {shown}**" in card
    assert "<" not in card and html.unescape(card.replace("\\|", "|")).count(name) == 3


def test_pretrained_weights_are_not_passed_over(runs, store):
    model, folder = runs["ours"]
    facts = gather(model, "ours", run=folder, store=store)
    pretrained = replace(facts, config=facts.config | {"model": {"kind": "backbone", "weights": "imagenet.pt"}})
    texts = [next(a.text for a in claim(f)[0] if a.number == 24) for f in (facts, pretrained)]
    assert "no pre-trained weights" in texts[0] and "imagenet.pt" in texts[1] and "no pre-trained" not in texts[1]


def test_a_run_judged_on_another_store_does_not_describe_it_as_its_training_data(runs, store, tmp_path):
    model, _ = runs["ours"]
    other = prepare(phantom_source(20, 32, seed=4), tmp_path / "other", 32, progress=False)
    facts = gather(model, "ours", run=runs["ours"][1], store=other)
    answers, _ = claim(facts)
    assert not facts.own_store and {7, 19, 20, 32, 35}.isdisjoint(a.number for a in answers)


def test_phantoms_with_a_tag_are_still_phantoms_and_other_images_with_a_tag_are_not(runs, store, tmp_path):
    tagged = prepare(shortcut_source(store.path, "Edema", Tag("marker")), tmp_path / "tagged", 32, progress=False)
    assert gather(runs["ours"][0], "ours", store=tagged).phantoms and drawn(store.meta)
    (tmp_path / "meta.json").write_text(json.dumps({"adapter": "table"}))
    for path in (tmp_path, tmp_path / "gone"):
        assert not drawn(tagged.meta | {"options": tagged.meta["options"] | {"store": str(path)}})
    assert not drawn({"adapter": "table"})


def test_patients_in_two_splits_are_counted():
    manifest = pd.DataFrame({"patient": list("aabb"), "split": ["train", "test", "train", "train"]})
    assert shared_patients(SimpleNamespace(manifest=manifest)) == 1


def test_runs_side_by_side_show_both_and_warn_when_they_saw_other_images(runs, store, tmp_path):
    def column(name, **changed):
        model, folder = runs[name]
        judged = read_evaluation(folder / "evaluation")
        judged.metrics.update(changed)
        facts = gather(model, name, run=folder, store=store, metrics=judged.metrics)
        return Column(facts, judged, model, LOG)

    page = build_side_by_side(tmp_path / "both.html", [column("ours"), column("theirs")]).read_text()
    value = column("ours").judged.metrics["auc"]["Edema"]["value"]
    assert f"{value:.3f}" in page and "Calls that differ" in page
    assert "not</b> judged on the same images" not in page and not re.search(r'(src|href)="(?!data:|#)', page)
    other = build_side_by_side(tmp_path / "x.html", [column("ours"), column("theirs", split="valid")]).read_text()
    assert "not</b> judged on the same images" in other and "Calls that differ" not in other
    with pytest.raises(AttrinetError, match="two runs have this name"):
        build_side_by_side(tmp_path / "y.html", [column("ours"), column("ours")])


@pytest.mark.parametrize("limit, named", [(None, True), (4, False)])
def test_what_the_explanations_were_judged_on_and_what_was_drawn_is_said(runs, store, tmp_path, limit, named):
    model, folder = runs["ours"]
    judged = read_evaluation(folder / "evaluation")
    judged.metrics.update(limit=limit)
    facts = replace(gather(model, "a", run=folder, store=store, metrics=judged.metrics), names_patients=named)
    page = build_side_by_side(tmp_path / "x.html", [Column(facts, judged, model, LOG)]).read_text()
    assert ("judged on at most 4 images a finding" in page) == (limit == 4) == ("at most 4 images" in markdown(facts))
    assert ("the data name no patients" in page) == (not named) and facts.thresholds in page
    assert f"over {facts.units}, of one" in page


def test_an_evaluation_of_other_images_is_refused(runs, store, tmp_path):
    model, folder = runs["ours"]
    other = prepare(phantom_source(20, 32, seed=9), tmp_path / "other", 32, progress=False)
    with pytest.raises(AttrinetError, match="--store"):
        build_report(tmp_path / "r.html", title="x", model=model, store=other, evaluation=folder / "evaluation")
    assert not (tmp_path / "r.html").exists()


def test_figures_and_probabilities_on_the_page_are_those_of_the_evaluation(runs, store, monkeypatch):
    def writing(fig):
        """What is written beside and in the axes of a figure, in place of its picture."""
        return "data:" + " ".join(text for axes in fig.axes
                                  for text in (axes.get_ylabel(), *(inside.get_text() for inside in axes.texts)))

    monkeypatch.setattr(figures, "data_uri", writing)
    page = html.unescape(page_of(runs, "ours", store))
    judged = read_evaluation(runs["ours"][1] / "evaluation")
    table, calls = judged.predictions.set_index("id"), judged.metrics["calls"]["Edema"]
    (line,) = re.findall(r"<tr><td>Edema</td><td>(\d+) / (\d+)</td><td>([\d.]+)[^<]*</td>\s*<td>([\d.]+)</td><td>"
                         r"([\d.]+)[^<]*</td><td>([\d.]+)", page)
    present, absent = (table[table["label"] == label] for label in (1, 0))
    higher = np.subtract.outer(present["probability"].to_numpy(), absent["probability"].to_numpy())
    auc = ((higher > 0) + 0.5 * (higher == 0)).mean()
    assert line == (str(len(present)), str(len(absent)), f"{auc:.3f}", f"{calls['threshold']:.2f}",
                    f"{present['called'].mean():.2f}", f"{1 - absent['called'].mean():.2f}")
    (found,) = failures(judged.predictions, ("Edema",))
    (typical,), (wrong,) = choose(judged.predictions, ("Edema",))
    assert found.missed or found.alarms
    for id, _ in [*found.missed, *found.alarms]:
        assert f"{id}\np = {table.loc[id, 'probability']:.2f}" in page
    for example in (typical, wrong):
        p = table.loc[example.id, "probability"]
        said = f"Edema\np = {p:.2f} {'≥' if p >= calls['threshold'] else '<'} {calls['threshold']:.2f}"
        head = f'<h3>{example.why}</h3><p class="muted">{example.id} '
        assert said in page.split(head)[1].split("</figure>")[0]


@pytest.mark.parametrize("name", ["ours", "theirs"])
def test_green_is_explained_in_every_section_that_shows_a_lesion_and_in_no_other(runs, store, monkeypatch, name):
    typical, best, worst, wrong = ([Example(f"{which} {k}", "Edema", "why") for k in (0, 1)]
                                   for which in ("typical", "best", "worst", "wrong"))
    monkeypatch.setattr(building, "choose", lambda *_: (typical, wrong))
    monkeypatch.setattr(building, "best_and_worst", lambda *_: (best, worst))
    monkeypatch.setattr(figures, "data_uri", lambda fig: "data:")

    def sections(*outlined):
        """ids of the sections that explain the colour, where these pictures have an outline and no others."""
        monkeypatch.setattr(building, "explained", lambda model, store, row_of, e: {
            "why": e.why, "id": e.id, "present": "Edema", "picture": "data:", "outlined": e.id in outlined})
        monkeypatch.setattr(building, "cases_picture", lambda *_: {
            "missed": "data:", "alarms": None, "outlined": "failures" in outlined})
        for picture in ("evidence_picture", "located_picture"):
            monkeypatch.setattr(building, picture, lambda *_, said=picture: "data:" if said in outlined else None)
        parts = re.split(r'<h2 id="(\w+)">', page_of(runs, name, store))
        return [id for id, part in zip(parts[1::2], parts[2::2], strict=True) if "Green: the known lesion." in part]

    assert sections() == []
    assert sections("typical 1") == ["local"] and sections("failures") == ["failures"]
    assert sections("best 1") == sections("worst 1") == ["cases"]
    if name == "ours":
        assert sections("wrong 1") == ["failures"]
        assert sections("evidence_picture") == sections("located_picture") == ["evidence"]


def test_a_report_of_a_rival_s_explanations_names_it_wherever_their_figures_stand(runs, store, tmp_path):
    model, folder = runs["theirs"]

    def rebuild(model):
        return build("gradcam", model, as_published=True)

    run_evaluation(Run(folder, model, None), store.select(model.findings), "test", (), tmp_path / "gradcam", draws=10,
                   grids=4, progress=False, rebuild=rebuild, named="gradcam", as_published=True)
    page = build_report(tmp_path / "r.html", title="theirs", model=model, store=store, run=folder,
                        evaluation=tmp_path / "gradcam").read_text()
    page, own = html.unescape(page), html.unescape(page_of(runs, "ours", store))
    assert "explanations judged: those of <b>Grad-CAM, as published</b>" in page.split("</header>")[0]
    assert "</b>class sensitivity of Grad-CAM, as published<br>" in page
    card = re.search(r'<h2 id="card">.*?<h2 id="claim">', page, re.S)[0]
    for what in ("Explanation", "Class sensitivity, mean"):
        assert "of Grad-CAM, as published, not of" in card.split(f"<dt>{what}</dt>")[1].split("</dd>")[0]
    assert "explanations judged" not in own and "not of the model's own" not in own


def test_a_missing_interval_of_the_mean_auc_is_not_laid_on_one_patient(runs, store, tmp_path):
    model, folder = runs["theirs"]
    moved = shutil.copytree(folder / "evaluation", tmp_path / "evaluation")
    metrics = json.loads((moved / "metrics.json").read_text())
    metrics["auc"]["mean"] = {"value": 1.0, "low": None, "high": None}  # every draw gave 1
    (moved / "metrics.json").write_text(json.dumps(metrics))
    page = build_report(tmp_path / "r.html", title="theirs", model=model, store=store, run=folder,
                        evaluation=moved).read_text()
    assert "<b>1.000</b>mean AUC<br><span class=\"muted\">no interval (too few patients, or all draws agree)" in page


def test_an_evaluation_of_other_weights_is_not_reported(runs, store, tmp_path):
    model, folder = runs["ours"]
    shutil.copytree(folder, tmp_path / "run")
    torch.manual_seed(1)
    trained_on = AttriNet(["Edema"], 32, width=4, critic=False).eval()
    with pytest.raises(AttrinetError, match="ours: its evaluation is of other weights"):
        build_report(tmp_path / "report.html", title="ours", model=trained_on, store=store, run=tmp_path / "run",
                     evaluation=tmp_path / "run/evaluation")
    with pytest.raises(AttrinetError, match="card: its evaluation is of other weights"):
        save_pretrained(trained_on, tmp_path / "card", run=tmp_path / "run",
                        preprocessing={"intensity": "paper", "keep_aspect": False})
    assert not (tmp_path / "report.html").exists()


def test_an_evaluation_of_other_thresholds_is_not_reported(runs, store, tmp_path):
    model, folder = runs["ours"]
    moved = copy.deepcopy(model)
    moved.thresholds.fill_(0.123)
    assert not changed_since(read_evaluation(folder / "evaluation").metrics, model, weights_hash(model))
    with pytest.raises(AttrinetError, match="ours: its evaluation is of other thresholds than the model has now; run"):
        build_report(tmp_path / "report.html", title="ours", model=moved, store=store, run=folder,
                     evaluation=folder / "evaluation")


def test_a_store_is_known_by_what_it_holds_not_by_its_path(runs, store, tmp_path):
    model, folder = runs["ours"]
    shutil.copytree(folder, tmp_path / "run")
    saved = json.loads((folder / "best/training.json").read_text())
    moved = Store.open(shutil.copytree(store.path, tmp_path / "moved"))
    for data, own in ((store.identity, True), ({"images": "0", "truth": "0"}, False)):
        (tmp_path / "run/best/training.json").write_text(json.dumps(saved | {"data": data}))
        assert gather(model, "ours", run=tmp_path / "run", store=moved).own_store is own
        assert gather(model, "ours", run=tmp_path / "run", store=store).own_store is own


def test_data_that_name_no_patients_are_never_said_to_be_split_by_patient(runs, store, tmp_path):
    unnamed = Store.open(shutil.copytree(store.path, tmp_path / "store"))
    unnamed.meta["options"]["patient"] = NO_PATIENTS
    assert store.names_patients and not unnamed.names_patients
    model, _ = runs["ours"]
    folder = judged_run(model, unnamed, tmp_path / "run")
    page = page_of({"ours": (model, folder)}, "ours", unnamed)
    facts = gather(model, "ours", run=folder, store=unnamed)
    said = page + markdown(facts) + summary(json.loads((folder / "evaluation/metrics.json").read_text()))
    for claimed in ("over patients", "By patient:", "by patient:", "no patient identifier", " patients of the same"):
        assert claimed not in said, claimed
    assert "one patient may have images in several splits" in page and "95 % intervals over images" in said
    plain = page_of(runs, "ours", store)
    assert "intervals over patients" in plain and "no patient identifier is in two splits" in plain


def test_thresholds_are_said_to_be_chosen_on_validation_images_only_where_they_were(runs, store, tmp_path):
    model, folder = runs["ours"]
    for origin, words in (("", "given with the model, not chosen"), (ON_VALIDATION, "chosen by Youden's index on the"),
                          ("not recorded", "how they were chosen is not recorded")):
        save_model(model, tmp_path / "m", thresholds={"Edema": 0.5}, preprocessing=store.preprocessing,
                   thresholds_from=origin)
        facts = gather(load(tmp_path / "m"), "ours", run=folder, store=store)
        assert words in html.unescape(markdown(facts)) and words in dict(
            (answer.number, answer.text) for answer in claim(facts)[0])[28]
    page = page_of(runs, "ours", store)  # of a model that was never trained
    assert "given with the model, not chosen on validation images" in page


@pytest.mark.parametrize("mode, weight, words", [
    ("none", 30, "no guidance"), ("mixed", 30, "guided by annotations, mode mixed"), ("mixed", 0, "no guidance"),
    ("shortcut", 30, "guided off a known tag"), ("given", 30, "guided by given masks"),
])
def test_what_guided_a_model_is_said_as_it_was(runs, store, mode, weight, words):
    model, folder = runs["ours"]
    facts = gather(model, "ours", run=folder, store=store)
    config = {**facts.config, "guidance": {"mode": mode}, "losses": {"guidance": weight}}
    assert supervision(replace(facts, config=config)).startswith(words)


def test_a_report_shows_the_images_that_were_judged(runs, store, tmp_path):
    """A store with a drawn tag has the same ids."""
    model, folder = runs["ours"]
    tagged = prepare(shortcut_source(store.path, "Edema", Tag("border")), tmp_path / "tagged", 32, progress=False)
    with pytest.raises(AttrinetError, match=f"tagged: holds other images than .* on {store.path};"):
        build_report(tmp_path / "report.html", title="ours", model=model, store=tagged, run=folder,
                     evaluation=folder / "evaluation")
    relabelled = Store.open(shutil.copytree(store.path, tmp_path / "relabelled"))
    row = relabelled.manifest.index[relabelled.manifest["split"] == "test"][0]
    relabelled.manifest.loc[row, "Edema"] = 1 - relabelled.manifest.loc[row, "Edema"]
    with pytest.raises(AttrinetError, match="relabelled: holds other labels, annotations or another split"):
        build_report(tmp_path / "report.html", title="ours", model=model, store=relabelled, run=folder,
                     evaluation=folder / "evaluation")
