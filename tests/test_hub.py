"""A saved folder is the model and its card; nothing is fetched unless it is asked for."""

import json
import math
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

import attrinet
from attrinet.data.phantom import phantom_source
from attrinet.data.prepare import prepare
from attrinet.errors import AttrinetError
from attrinet.folder import load, save_model
from attrinet.hub import save_pretrained
from attrinet.nets.attrinet import AttriNet
from attrinet.nets.weights import weights_hash

AS_PREPARED = {"intensity": "paper", "keep_aspect": False}


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = attrinet.AttriNet(["Cardiomegaly", "Edema"], 32, width=4).eval()
    model.thresholds.copy_(torch.tensor([0.25, 0.75]))
    return model


def test_what_was_saved_predicts_the_same_after_loading_and_again_after_saving_that(model, tmp_path):
    attrinet.save_pretrained(model, tmp_path / "one", preprocessing=AS_PREPARED)
    first = attrinet.from_pretrained(tmp_path / "one")
    attrinet.save_pretrained(first, tmp_path / "two")
    second = attrinet.from_pretrained(str(tmp_path / "two"))
    x = torch.rand(2, 1, 32, 32) * 2 - 1
    torch.testing.assert_close(second.logits(x), model.logits(x), rtol=0, atol=0)
    assert second.thresholds.tolist() == [0.25, 0.75]
    assert json.loads((tmp_path / "two/config.json").read_text())["preprocessing"] == AS_PREPARED


def test_the_card_has_the_front_matter_of_the_hub_and_names_what_it_does_not_know(model, tmp_path):
    attrinet.save_pretrained(model, tmp_path / "bare", preprocessing=AS_PREPARED)
    _, front, body = (tmp_path / "bare/README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(front)["library_name"] == "attrinet"
    assert yaml.safe_load(front)["pipeline_tag"] == "image-classification"
    assert "Cardiomegaly, Edema" in body
    for unknown in ("licence of the weights", "no evaluation was at hand", "its store was not at hand"):
        assert f"*Not stated by the run*: {unknown}" in body or unknown in body


def test_the_card_counts_the_store_and_quotes_the_evaluation(model, tmp_path):
    store = prepare(phantom_source(30, 32, seed=1), tmp_path / "store", 32, progress=False)
    run = tmp_path / "run"
    (run / "evaluation").mkdir(parents=True)
    auc = {"value": 0.912, "low": 0.85, "high": None}
    (run / "evaluation/metrics.json").write_text(json.dumps({
        "images": 6, "patients": 6, "draws": 50, "split": "test", "where": [], "store_checksum": "abc",
        "auc": {"Edema": auc, "mean": auc}, "provenance": {"attrinet": "9.9", "commit": None}}))
    attrinet.save_pretrained(model, tmp_path / "card", run=run, store=store.path, preprocessing=AS_PREPARED)
    card = (tmp_path / "card/README.md").read_text()
    assert "AUC, Edema**: 0.912 [0.850, –]" in card and "attrinet 9.9" in card
    assert f"train: {store.meta['counts']['train']['images']} of" in card
    assert "no patient identifier of the store is in two splits" in card
    assert "they say nothing about patients" in card


def test_offline_a_missing_folder_is_an_error_and_the_network_is_never_asked(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # importing it would fail
    with pytest.raises(attrinet.AttrinetError, match="owner/model: no such folder.*offline=False"):
        attrinet.from_pretrained("owner/model")
    with pytest.raises(attrinet.AttrinetError, match=r"attrinet\[hub\]"):
        attrinet.from_pretrained("owner/model", offline=False)


def test_online_the_repository_is_fetched_by_name_and_revision_and_only_the_files_of_a_model(
    monkeypatch, model, tmp_path
):
    attrinet.save_pretrained(model, tmp_path / "there", preprocessing=AS_PREPARED)
    calls = []

    def download(name, *, revision, allow_patterns):
        calls.append((name, revision))
        assert not any("*" in pattern or pattern.endswith((".py", ".pkl", ".bin")) for pattern in allow_patterns)
        return str(tmp_path / "there")

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=download))
    fetched = attrinet.from_pretrained("owner/model", offline=False, revision="v1")
    assert calls == [("owner/model", "v1")] and fetched.findings == model.findings

    def fail(*_, **__):
        raise OSError("no route to host\nmore")

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=fail))
    with pytest.raises(attrinet.AttrinetError, match=r"owner/model: not fetched .*\(no route to host\)$"):
        attrinet.from_pretrained("owner/model", offline=False)


def test_a_model_that_does_not_know_how_images_were_prepared_asks(model, tmp_path):
    with pytest.raises(attrinet.AttrinetError, match="preprocessing="):
        attrinet.save_pretrained(model, tmp_path / "x")


@pytest.mark.parametrize("changes, words", [
    ({"thresholds": {"Edema": 0.5}}, "want a probability, 0 to 1, of each of Edema, Cardiomegaly"),
    ({"thresholds": {"Edema": 0.5, "Cardiomegaly": 50}}, "0 to 1"),
    ({"preprocessing": {"intensty": "paper", "keep_aspect": False}}, "want intensity, one of"),
    ({"thresholds": {"Edema": 0.5, "Cardiomegaly": True}}, "0 to 1"),
    ({"preprocessing": {"intensity": "papper", "keep_aspect": False}}, "want intensity, one of"),
    ({"preprocessing": {"intensity": "paper", "keep_aspect": "false"}}, "keep_aspect, true or false"),
])
def test_what_could_not_be_loaded_is_not_saved(tmp_path, changes, words):
    model = AttriNet(["Edema", "Cardiomegaly"], 32, width=2, critic=False)
    right = {"thresholds": dict.fromkeys(model.findings, 0.5),
             "preprocessing": {"intensity": "paper", "keep_aspect": False}}
    with pytest.raises(AttrinetError, match=words):
        save_model(model, tmp_path / "m", **right | changes)
    assert not (tmp_path / "m").exists()


def test_a_compiled_model_is_saved_as_the_one_it_was_made_of(tmp_path):
    model = AttriNet(["Edema"], 32, width=2)
    save_model(torch.compile(model), tmp_path / "m", thresholds={"Edema": 0.25}, preprocessing=AS_PREPARED)
    assert load(tmp_path / "m").thresholds.tolist() == [0.25]
    cards = [save_pretrained(each, tmp_path / name / "same title", preprocessing=AS_PREPARED) / "README.md"
             for name, each in (("plain", model), ("compiled", torch.compile(model)))]
    assert cards[0].read_text() == cards[1].read_text()
    assert weights_hash(torch.compile(model)) == weights_hash(model)


def test_weights_in_bfloat16_can_be_told_apart():
    model = AttriNet(["Edema"], 32, width=2).bfloat16()
    before = weights_hash(model)
    with torch.no_grad():
        model.classifiers[0].bias += 1
    assert weights_hash(model) != before


@pytest.mark.parametrize("kind", [np.float32, np.float64, int])
def test_thresholds_may_be_numbers_of_any_kind(tmp_path, kind):
    save_model(AttriNet(["Edema"], 32, width=2), tmp_path, thresholds={"Edema": kind(1)}, preprocessing=AS_PREPARED)
    assert load(tmp_path).thresholds.tolist() == [1]


@pytest.mark.parametrize("thresholds", [
    {"Edema": math.nan}, {"Edema": 40}, {"Edema": -1}, {"Edema": True}, {"Edema": "1"},
])
def test_thresholds_that_are_no_probabilities_are_refused_where_a_model_is_loaded(tmp_path, thresholds):
    save_model(AttriNet(["Edema"], 32, width=2), tmp_path, thresholds={"Edema": 0.5}, preprocessing=AS_PREPARED)
    (tmp_path / "thresholds.json").write_text(json.dumps(thresholds))
    with pytest.raises(AttrinetError, match="thresholds.json: thresholds .*: want a probability, 0 to 1"):
        load(tmp_path)


@pytest.mark.parametrize("preprocessing", [None, {}, {"intensity": "paper", "keep_aspect": "false"},
                                           {"intensity": "paper", "keep_aspect": False, "path": "x"}])
def test_preprocessing_that_reading_could_not_follow_is_refused_where_a_model_is_loaded(tmp_path, preprocessing):
    save_model(AttriNet(["Edema"], 32, width=2), tmp_path, thresholds={"Edema": 0.5}, preprocessing=AS_PREPARED)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"preprocessing": preprocessing}))
    with pytest.raises(AttrinetError, match="config.json: preprocessing .*: want intensity"):
        load(tmp_path)


@pytest.mark.parametrize("last", ["model.safetensors", "thresholds.json"])
def test_a_model_written_over_another_is_never_half_of_each(tmp_path, monkeypatch, last):
    old, new = (AttriNet(["Edema"], 32, width=2) for _ in range(2))
    save_model(old, tmp_path, thresholds={"Edema": 0.5}, preprocessing=AS_PREPARED)
    rename = os.replace

    def dies(part, path):
        rename(part, path)
        if Path(path).name == last:
            raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(os, "replace", dies)
        with pytest.raises(KeyboardInterrupt):
            save_model(new, tmp_path, thresholds={"Edema": 0.9}, preprocessing=AS_PREPARED)
    with pytest.raises(AttrinetError, match="config.json: not found"):
        load(tmp_path)
    save_model(new, tmp_path, thresholds={"Edema": 0.9}, preprocessing=AS_PREPARED)
    assert weights_hash(load(tmp_path)) == weights_hash(new)


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_said_in_words(tmp_path, device):
    save_model(AttriNet(["Edema"], 32, width=2), tmp_path, thresholds={"Edema": 0.5}, preprocessing=AS_PREPARED)
    with pytest.raises(AttrinetError, match=f"device {device}: not usable here"):
        load(tmp_path, device)
