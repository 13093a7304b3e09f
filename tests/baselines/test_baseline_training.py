"""Training of the baselines: losses, guidance, kills, several processes, and the same commands as for Attri-Net."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from lightning_fabric import Fabric
from PIL import Image
from safetensors.torch import load_file

from attrinet.baselines import BASELINES
from attrinet.baselines.loop import cross_entropy, energy_outside, losses_of, positives_first, train
from attrinet.cli import cli
from attrinet.errors import AttrinetError
from attrinet.folder import load
from attrinet.metrics.auc import auc
from attrinet.train import checkpoint
from attrinet.train.batches import update
from attrinet.train.config import dump_config
from attrinet.train.guide import build_guidance
from attrinet.train.log import read_log
from attrinet.train.run import Job, predict
from small_baselines import SMALL

KINDS = tuple(BASELINES)


@pytest.fixture(scope="module", params=KINDS)
def run(request, config, tmp_path_factory):
    """A trained run of each kind: its folder."""
    return train(config(request.param), tmp_path_factory.mktemp(request.param) / "run", progress=False).parent


def verb(*arguments):
    return CliRunner().invoke(cli, [str(a) for a in arguments], catch_exceptions=True)


def test_unknown_labels_are_left_out_of_the_loss_of_their_finding_only():
    logits = torch.tensor([[0.3, -1.0], [2.0, 0.5]], requires_grad=True)
    labels = torch.tensor([[1.0, float("nan")], [float("nan"), 0.0]])
    loss = cross_entropy(logits, labels)
    want = -np.log(1 / (1 + np.exp(-0.3))) - np.log(1 - 1 / (1 + np.exp(-0.5)))
    assert loss.item() == pytest.approx(want, rel=1e-6)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert (gradient != 0).tolist() == [[True, False], [False, True]]


def test_a_run_in_bf16_is_judged_by_probabilities_that_are_not_rounded(run, phantoms):
    model, rows = load(run / "best"), phantoms.split("valid")
    with torch.no_grad():
        want = model.logits(phantoms.batch(rows)).sigmoid()
    half = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    assert predict(half, model, phantoms, rows, len(rows)) == pytest.approx(want.numpy(), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_s_loss_is_the_mean_over_its_known_labels(config, phantoms, kind, tmp_path):
    store = phantoms.select(phantoms.findings)
    labels = store.labels.copy()
    labels[::2, 1] = np.nan
    labels[:, 3] = np.nan
    store.labels = labels
    torch.manual_seed(0)
    model = BASELINES[kind](store.findings, store.size, **SMALL[kind]).eval()
    rows = store.split("train")[:6]
    job = Job(config(kind), store, {}, tmp_path, Fabric(accelerator="cpu", devices=1))
    loss = losses_of(job, model, store.batch(rows), rows, None)["classification"].item()
    p, y = model.logits(store.batch(rows)).sigmoid().double().numpy(), labels[rows]
    each = -np.where(y == 1, np.log(p), np.log(1 - p))
    assert loss == pytest.approx(each[~np.isnan(y)].mean(), rel=1e-5)


def test_guidance_moves_evidence_into_the_masks(config, phantoms, tmp_path):
    outside = {}
    for weight in (0.0, 1.0):
        settings = config("bcos_resnet50", "guidance.mode=pseudo-mask", f"baseline.guidance={weight}")
        rows = phantoms.split("train")
        guidance, _ = build_guidance(settings, phantoms, rows)
        torch.manual_seed(0)
        model = BASELINES["bcos_resnet50"](phantoms.findings, phantoms.size, width=4, depth=18)
        job = Job(settings, phantoms, {}, tmp_path, Fabric(accelerator="cpu", devices=1))
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        for step in range(12):
            batch = rows[(np.arange(8) + 8 * step) % len(rows)]
            terms = losses_of(job, model, phantoms.batch(batch), batch, guidance)
            update(job.fabric, optimizer, terms["classification"] + weight * terms["guidance"], model.parameters())
        labels = phantoms.labels[rows]
        maps, _ = model.contributions(phantoms.batch(rows), torch.from_numpy(positives_first(labels)))
        outside[weight] = energy_outside(maps, labels, rows, guidance).item() / (labels == 1).sum()
    assert outside[1.0] < outside[0.0] - 0.1


def test_a_batch_s_guidance_is_the_mean_share_of_evidence_outside_each_positive_s_mask(config, phantoms, tmp_path):
    settings = config("bcos_resnet50", "guidance.mode=mixed", "guidance.per_finding=3")
    guidance, _ = build_guidance(settings, phantoms, phantoms.split("train"))
    torch.manual_seed(0)
    model = BASELINES["bcos_resnet50"](phantoms.findings, phantoms.size, width=4, depth=18).double().train()
    labels = phantoms.labels[phantoms.split("train")]
    order = np.argsort(-(labels == 1).sum(1), kind="stable")  # images with many findings, and some with none
    rows = phantoms.split("train")[np.r_[order[:5], order[-3:]]]
    labels = phantoms.labels[rows]
    assert (labels == 1).sum(1).max() > 1 and (labels == 1).sum(1).min() == 0
    job = Job(settings, phantoms, {}, tmp_path, Fabric(accelerator="cpu", devices=1))
    loss = losses_of(job, model, phantoms.batch(rows).double(), rows, guidance)["guidance"]
    maps, _ = model.contributions(phantoms.batch(rows).double(), range(5))
    each = []
    for b, c in np.argwhere(labels == 1):
        (mask,), _ = guidance.masks(rows[b : b + 1], c)
        evidence = maps[b, c].clamp(min=0).numpy()
        each.append(1 - (evidence * mask).sum() / evidence.sum())
    assert loss.item() == pytest.approx(np.mean(each), rel=1e-6)


def test_a_guided_run_in_bf16_logs_both_losses(config, tmp_path):
    settings = config("bcos_resnet50", "guidance.mode=mixed", "run.precision=bf16", "baseline.epochs=1")
    train(settings, tmp_path / "run", progress=False)
    records = [r for r in read_log(tmp_path / "run" / "metrics.jsonl") if r["kind"] == "train"]
    assert all(set(r) == {"step", "kind", "model/classification", "model/guidance"} for r in records)
    assert all(0 < r["model/guidance"] < 1 for r in records)


def test_killed_and_resumed_it_is_the_undisturbed_run(config, tmp_path):
    settings = config("bcos_resnet50", "guidance.mode=mixed")
    file, killed, whole = tmp_path / "config.yaml", tmp_path / "killed", tmp_path / "whole"
    file.write_text(dump_config(settings))
    process = subprocess.Popen([sys.executable, "-m", "attrinet", "train", file, "--out", killed, "--quiet"],
                               env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not checkpoint.checkpoints(killed / "checkpoints") and time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    reached = [path.name for path in checkpoint.checkpoints(killed / "checkpoints")]
    assert reached and "step-00000015.safetensors" not in reached  # it died on the way
    train(settings, killed, resume=True, progress=False)
    train(settings, whole, progress=False)
    assert (killed / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    for left, right in zip(checkpoint.checkpoints(killed / "checkpoints"),
                           checkpoint.checkpoints(whole / "checkpoints"), strict=True):
        a, b = load_file(left), load_file(right)
        assert a.keys() == b.keys() and all(v.equal(b[k]) for k, v in a.items())
    assert (killed / "best/thresholds.json").read_bytes() == (whole / "best/thresholds.json").read_bytes()


def test_two_processes_hold_one_model(config, phantoms, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(dump_config(config("resnet50", "run.devices=2", "baseline.epochs=1")))
    done = subprocess.run([sys.executable, "-m", "attrinet", "train", file, "--out", tmp_path / "run", "--quiet"],
                          capture_output=True, text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-2000:]
    # each process predicted half of the validation images with its own copy of the model
    rows, model = phantoms.split("valid"), load(tmp_path / "run")
    alone = auc(phantoms.labels[rows], model.logits(phantoms.batch(rows)).sigmoid().numpy(), phantoms.findings)
    logged = [r for r in read_log(tmp_path / "run" / "metrics.jsonl") if r["kind"] == "valid"]
    assert logged[-1]["mean_auc"] == pytest.approx(alone.mean, abs=1e-9)


def test_a_run_is_validated_after_each_epoch_and_loads_as_what_was_best(run, phantoms):
    log = read_log(run / "metrics.jsonl")
    images, batch = len(phantoms.split("train")), 4
    assert [r["step"] for r in log if r["kind"] == "valid"] == [-(-k * images // batch) for k in (1, 2)]
    model, rows = load(run), phantoms.split("valid")
    saved = json.loads((run / "best/config.json").read_text())
    assert saved.items() >= {"model": model.kind, **SMALL[model.kind]}.items() and not model.training
    result = auc(phantoms.labels[rows], model.logits(phantoms.batch(rows)).numpy(), phantoms.findings)
    assert result.mean == pytest.approx(max(r["mean_auc"] for r in log if r["kind"] == "valid"), abs=1e-9)
    thresholds = json.loads((run / "best/thresholds.json").read_text())
    assert model.thresholds.tolist() == pytest.approx([thresholds[f] for f in model.findings])
    assert any((run / "samples").iterdir()) == (model.kind == "bcos_resnet50")


def test_evaluate_judges_the_explanation_of_a_model_that_has_one(run, phantoms, tmp_path):
    done = verb("evaluate", run, "--out", tmp_path / "e", "--draws", 5, "--quiet", "--device", "cpu")
    assert done.exit_code == 0, done.output
    metrics = json.loads((tmp_path / "e/metrics.json").read_text())
    assert metrics["images"] == len(phantoms.split("test")) and "mean" in metrics["auc"]
    located = pd.read_parquet(tmp_path / "e/localisation.parquet")
    if load(run).kind == "bcos_resnet50":
        own = metrics["explainer"]
        assert (own["name"], own["cost"], own["key"]) == ("B-cos ResNet18", 2.0, "own") and len(located)
    else:
        assert not {"explainer", "class_sensitivity", "disease_sensitivity"} & set(metrics) and not len(located)
        assert "explanations not judged" in done.output


def test_explain_draws_contributions_that_sum_to_the_logit_or_says_that_there_are_none(run, phantoms, tmp_path):
    Image.fromarray(np.asarray(phantoms.images[0])).save(tmp_path / "a.png")
    done = verb("explain", run, tmp_path / "a.png", "--out", tmp_path / "e", "--format", "png,npz", "--device", "cpu")
    model = load(run)
    if model.kind != "bcos_resnet50":
        assert isinstance(done.exception, AttrinetError)
        assert f"a {model.name} has no explanation of its own" in str(done.exception)
        return
    assert done.exit_code == 0, done.exception
    assert Image.open(tmp_path / "e/a.png").size[0] > 300
    saved = np.load(tmp_path / "e/a.npz")
    total = saved["bias"] + saved["contributions"].sum((1, 2), dtype=np.float64)
    np.testing.assert_allclose(total, saved["logits"], rtol=1e-4, atol=1e-5)


def test_the_verb_about_class_centres_says_that_a_baseline_has_none(run):
    error = verb("global", run).exception
    assert isinstance(error, AttrinetError) and "class centres" in str(error) and "\n" not in str(error)


@pytest.mark.parametrize("kind,override,words", [
    ("resnet50", "schedule.steps=7", r"schedule\.steps=7: is Attri-Net's.*baseline\.epochs"),
    ("bcos_resnet50", "losses.guidance=1", r"baseline\.guidance"),
    ("attrinet", "baseline.epochs=7", r"baseline\.epochs=7: is a baseline's"),
    ("resnet50", "guidance.mode=mixed", "no explanation of its own"),
    ("resnet50", "model.depth=34", "choose one of 50, 18"),
    ("resnet", "run.seed=0", "choose one of attrinet, resnet50, bcos_resnet50, backbone"),
    ("backbone", "run.seed=0", "say which, for instance model.backbone=densenet121"),
    ("resnet50", "model.weights=imagenet.pth", "is for model.kind=backbone, not resnet50"),
    ("attrinet", "model.backbone=densenet121", "is a baseline's"),
])
def test_an_option_of_the_other_kind_of_model_is_refused_not_ignored(kind, override, words):
    from attrinet.train.config import load_config

    with pytest.raises(AttrinetError, match=words):
        load_config(None, [f"model.kind={kind}", override])


def test_findings_without_positives_are_refused_before_training(config, phantoms, tmp_path, monkeypatch):
    labels = phantoms.labels.copy()
    labels[:, 0] = 0
    monkeypatch.setattr("attrinet.data.store.Store.labels", labels)
    with pytest.raises(AttrinetError, match=f"{phantoms.findings[0]} .no positive image"):
        train(config("resnet50"), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
