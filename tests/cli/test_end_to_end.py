"""The command line does the whole story on tiny data, and answers bad input with one line and exit code 2."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from attrinet.cli import VERBS, cli
from attrinet.cli.explain import unique_names
from attrinet.data.images import to_uint8
from attrinet.data.phantom import FINDINGS, phantom

TINY = ("model.width=4", "schedule.steps=6", "schedule.critic_steps=1", "schedule.classifier_steps=1",
        "schedule.burst=1", "run.validate_every=3", "run.checkpoint_every=3", "run.log_every=1", "run.batch_size=2")


def attrinet(*arguments, cwd, code=0):
    done = subprocess.run([sys.executable, "-m", "attrinet", *map(str, arguments)], cwd=cwd, capture_output=True,
                          text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == code, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A user's folder: PNG files, labels, masks of some findings, and a run trained on them."""
    work = tmp_path_factory.mktemp("work")
    (work / "png").mkdir()
    (work / "masks").mkdir()
    rows = []
    for k in range(60):
        p = phantom(5, k, 64)
        Image.fromarray(to_uint8(p.image)).save(work / "png" / f"{k}.png")
        rows.append({"image": f"{k}.png", "patient": k // 2, **dict(zip(FINDINGS, p.labels, strict=True))})
        for name, mask in zip(FINDINGS, p.masks, strict=True):
            if mask.any():
                Image.fromarray(mask).save(work / "masks" / f"{k}_{name.replace(' ', '_')}.png")
    pd.DataFrame(rows).to_csv(work / "labels.csv", index=False)
    done = attrinet("prepare", "table", "--labels", "labels.csv", "--images", "png", "--masks", "masks", "--size", 32,
                    "--fractions", "0.5,0.25,0.25", "--out", "store", "--workers", 2, "--verify", "--quiet", cwd=work)
    assert "60 images of 32×32 pixels, 30 patients" in done.stdout and "left out: nothing" in done.stdout
    (work / "tiny.yaml").write_text("data: {store: store}\nguidance: {mode: mixed, per_finding: 5}\n")
    done = attrinet("train", "tiny.yaml", *TINY, cwd=work)
    assert "best model: runs/tiny/best" in done.stdout and "6/6" in done.stderr
    return work


def test_evaluate_writes_metrics_and_predictions_of_every_test_image(work):
    done = attrinet("evaluate", "runs/tiny", "--draws", 50, "--quiet", cwd=work)
    metrics = json.loads((work / "runs/tiny/evaluation/metrics.json").read_text())
    manifest = pd.read_parquet(work / "store/manifest.parquet")
    test = manifest[manifest["split"] == "test"]
    assert metrics["images"] == len(test) and metrics["patients"] == test["patient"].nunique()
    predictions = pd.read_parquet(work / "runs/tiny/evaluation/predictions.parquet")
    assert len(predictions) == len(test) * len(FINDINGS) and predictions["probability"].between(0, 1).all()
    localisation = pd.read_parquet(work / "runs/tiny/evaluation/localisation.parquet")
    assert len(localisation) == test[list(FINDINGS)].sum().sum()
    assert "95 % intervals over patients" in done.stdout
    assert set(metrics["provenance"]) >= {"attrinet", "commit", "torch", "device", "training seed"}


def test_where_narrows_the_images(work):
    attrinet("evaluate", "runs/tiny", "--where", "Edema=1", "--out", "sick", "--draws", 5, "--quiet", cwd=work)
    manifest = pd.read_parquet(work / "store/manifest.parquet")
    sick = manifest[(manifest["split"] == "test") & (manifest["Edema"] == 1)]
    assert json.loads((work / "sick/metrics.json").read_text())["images"] == len(sick)
    done = attrinet("evaluate", "runs/tiny", "--where", "Sex=F", cwd=work, code=2)
    assert "--where Sex=F" in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_explain_writes_pictures_and_arrays_that_sum_to_the_logit(work):
    done = attrinet("explain", "runs/tiny", "png/3.png", "png/4.png", "--format", "png,npz", cwd=work)
    said = json.loads(done.stdout.splitlines()[0])
    assert (said["image"], said["name"]) == ("png/3.png", "3")
    assert Image.open(work / "runs/tiny/explanations/3.png").size[0] > 500
    saved = np.load(work / "runs/tiny/explanations/4.npz")
    total = saved["bias"] + saved["contributions"].sum((1, 2), dtype=np.float64)
    np.testing.assert_allclose(total, saved["logits"], atol=1e-5)


def test_explain_of_some_findings_keeps_to_them(work):
    done = attrinet("explain", "runs/tiny", "png/3.png", "--findings", "Edema, Atelectasis", "--format", "npz", "--out",
                    "some", cwd=work)
    assert list(json.loads(done.stdout.splitlines()[0])) == ["image", "name", "Edema", "Atelectasis"]
    saved, whole = np.load(work / "some/3.npz"), np.load(work / "runs/tiny/explanations/3.npz")
    assert saved["findings"].tolist() == ["Edema", "Atelectasis"]
    for name in ("logits", "bias", "thresholds", "contributions", "attribution"):
        np.testing.assert_array_equal(saved[name], whole[name][[list(FINDINGS).index(f) for f in saved["findings"]]])
    refused = attrinet("explain", "runs/tiny", "png/3.png", "--identity", "remove", "--out", "none", cwd=work, code=2)
    assert "add --dicom" in refused.stderr and not (work / "none").exists()


def test_explain_goes_on_after_a_bad_image_and_says_so(work):
    (work / "bad.png").write_text("no")
    done = attrinet("explain", "runs/tiny", "bad.png", "png/5.png", "--out", "ex", cwd=work, code=2)
    assert (work / "ex/5.png").exists() and "bad.png" in done.stderr and "1 of 2 images" in done.stderr


def test_global_and_report_are_written_and_the_report_needs_nothing_else(work):
    done = attrinet("global", "runs/tiny", cwd=work)
    scores = json.loads((work / "runs/tiny/global/suspicion.json").read_text())
    assert set(scores) == set(FINDINGS)
    alarms = [name for name, found in scores.items() if found["alarm"]]
    assert re.findall(r"^suspicious: the positive centre of (.+) is strong near row", done.stdout, re.M) == alarms
    assert ("no suspicious centre" in done.stdout) == (not alarms)
    assert np.load(work / "runs/tiny/global/global.npz")["positive_center"].shape == (5, 32, 32)
    attrinet("evaluate", "runs/tiny", "--draws", 20, "--quiet", cwd=work)
    attrinet("report", "runs/tiny", cwd=work)
    page = (work / "runs/tiny/report.html").read_text()
    assert "src=\"http" not in page and "href=\"http" not in page and page.count("data:image/png;base64,") >= 4
    for name in (*FINDINGS, "Data card", "Model card", "CLAIM 2024"):
        assert name in page


@pytest.mark.parametrize("alarm", [-2, 2])
def test_suspicious_centres_are_named_or_said_to_be_none(work, monkeypatch, alarm):
    monkeypatch.setattr("attrinet.metrics.suspicious_center.ALARM", alarm)
    monkeypatch.setattr("attrinet.cli.global_.png", lambda fig: b"")
    done = CliRunner().invoke(cli, ["global", str(work / "runs/tiny"), "--store", str(work / "store"), "--out",
                                    str(work / f"alarm{alarm}")])
    assert done.exit_code == 0, done.output
    scores = json.loads((work / f"alarm{alarm}/suspicion.json").read_text())
    expected = [] if alarm == 2 else [
        (name, str(found["row"]), str(found["column"]), f"{found['score']:.2f}") for name, found in scores.items()]
    assert set(scores) == set(FINDINGS) and {found["alarm"] for found in scores.values()} == {alarm == -2}
    assert re.findall(r"^suspicious: the positive centre of (.+) is strong near row (\d+), column (\d+), .*"
                      r"\(score (\S+), alarm", done.stdout, re.M) == expected
    assert ("no suspicious centre" in done.stdout) == (alarm == 2)


def test_a_model_alone_has_its_centres_drawn_but_not_judged(work):
    done = attrinet("global", "runs/tiny/best", "--out", "alone", cwd=work)
    assert (work / "alone/global.png").exists() and "--store" in done.stderr
    attrinet("global", "runs/tiny/best", "--store", "store", "--out", "judged", cwd=work)
    assert set(json.loads((work / "judged/suspicion.json").read_text())) == set(FINDINGS)


def test_thresholds_can_be_chosen_again(work):
    path = work / "runs/tiny/best/thresholds.json"
    right = path.read_text()
    path.write_text(json.dumps(dict.fromkeys(FINDINGS, 0.5)))
    attrinet("evaluate", "runs/tiny", "--set-thresholds", "--draws", 5, "--quiet", "--out", "again", cwd=work)
    assert json.loads(path.read_text()) == pytest.approx(json.loads(right), abs=1e-6)


def test_the_demo_tells_the_whole_story_and_goes_on_where_it_was(tmp_path):
    arguments = ("demo", *TINY, "--out", "demo", "--phantoms", 60, "--quiet")
    done = attrinet(*arguments, cwd=tmp_path)
    for part in ("store/meta.json", "config.yaml", "metrics.jsonl", "best/model.safetensors", "evaluation/metrics.json",
                 "global/global.png", "report.html"):
        assert (tmp_path / "demo" / part).exists(), part
    assert any((tmp_path / "demo/explanations").iterdir())
    assert "mean AUC" in done.stdout and "denser in the known lesion" in done.stdout
    before = (tmp_path / "demo/evaluation/predictions.parquet").read_bytes()
    attrinet(*arguments, cwd=tmp_path)
    assert (tmp_path / "demo/evaluation/predictions.parquet").read_bytes() == before


@pytest.mark.parametrize("arguments,message", [
    (("train", "nowhere.yaml"), "nowhere.yaml: no such configuration file"),
    (("train", "runs/nowhere", "--resume"), "runs/nowhere: no run is there to go on with"),
    (("train", "tiny.yaml", "schedule.stesp=3"), "did you mean 'schedule.steps'"),
    (("train", "tiny.yaml"), "already holds a run"),
    (("train", "tiny.yaml", "run.accelerator=foo", "--out", "y"), "run.accelerator=foo, run.devices=1: not usable"),
    (("prepare", "table", "--labels", "labels.csv", "--images", "png", "--out", "x", "--fractions", "1,nan,1"),
     "add up to 1"),
    (("evaluate", "nowhere"), "config.json: not found"),
    (("report", "runs/tiny", "--evaluation", "nowhere"), "run attrinet evaluate first"),
    (("report", "runs/tiny", "runs/tiny", "--evaluation", "x"), "each one's own evaluation is read"),
    (("explain", "runs/tiny", "png/3.png", "--findings", "Edma"), "did you mean 'Edema'"),
    (("explain", "runs/tiny", "png/3.png", "--format", "jpg"), "--format jpg"),
    (("evaluate", "runs/tiny", "--device", "quantum"), "device quantum"),
    (("prepare", "table", "--labels", "no.csv", "--images", "png", "--out", "x"), "no.csv: not found"),
    (("prepare", "phantom", "--n", "10", "--size", "32", "--out", "store"), "holds a store made of other data"),
])
def test_bad_input_is_one_line_and_exit_code_2(work, arguments, message):
    done = attrinet(*arguments, cwd=work, code=2)
    assert message in done.stderr and done.stderr.startswith("attrinet: ")
    assert len(done.stderr.strip().splitlines()) == 1 and "Traceback" not in done.stderr


def test_help_lists_every_verb_with_examples():
    run = CliRunner()
    text = run.invoke(cli, ["--help"]).output
    for verb in VERBS:
        assert verb in text
        own = run.invoke(cli, [verb, "--help"]).output
        assert verb == "datasets" or "Example" in own, verb


def test_a_negative_seed_is_refused_before_anything_is_written(work):
    for arguments in (("prepare", "phantom", "--out", "negative"), ("demo", "--out", "negative"),
                      ("train-autoencoder", "store", "--out", "negative")):
        done = attrinet(*arguments, "--seed", "-1", cwd=work, code=2)
        assert "'--seed': -1 is not in the range" in done.stderr and not (work / "negative").exists()


def test_images_named_by_uids_keep_their_whole_name():
    names = [Path("a/1.2.840.1.1"), Path("a/1.2.840.1.2"), Path("b/1.2.840.1.2"), Path("x.y.dcm"), Path("x.y.PNG")]
    assert unique_names(names, Path("nowhere")) == ["1.2.840.1.1", "1.2.840.1.2", "1.2.840.1.2-2", "x.y", "x.y-2"]


def test_explain_never_writes_over_an_image_it_was_given(work):
    before = (work / "png" / "3.png").read_bytes()
    done = attrinet("explain", "runs/tiny", "png/3.png", "--out", "png", cwd=work, code=2)
    assert "png/3.png: is one of the images, and would be overwritten" in done.stderr
    assert (work / "png" / "3.png").read_bytes() == before
