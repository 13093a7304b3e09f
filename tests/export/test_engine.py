"""OpenVINO in a faster precision: measured on radiographs before it is used, and the map stays the decision."""

import copy
import json
import math
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from attrinet import AttrinetError, load, save_model
from attrinet.cli import cli
from attrinet.export import verify
from attrinet.export.engine import own_engine, use_engine
from attrinet.export.openvino import precisions
from attrinet.files import checksum
from attrinet.nets.weights import weights_hash

FINDINGS = ("Edema", "Cardiomegaly")
BFLOAT16 = "bfloat16" in precisions()
FASTER = ["int8", pytest.param("bfloat16", marks=pytest.mark.skipif(not BFLOAT16, reason="no bfloat16 here"))]


def run(*arguments):
    return CliRunner().invoke(cli, list(map(str, arguments)))


@pytest.fixture(scope="module")
def quiet_folder(phantom_model, tmp_path_factory):
    """Folder of a model whose maps are as small as a trained one's; rounding shrinks with them."""
    model, folder = load(phantom_model), tmp_path_factory.mktemp("quiet") / "best"
    with torch.no_grad():
        model.generator.last.weight *= 0.02
        for each in model.classifiers:
            each.weight *= 20
    save_model(model, folder, thresholds=dict.fromkeys(FINDINGS, 0.5),
               preprocessing={"intensity": "paper", "keep_aspect": False})
    return folder


@pytest.fixture
def export(quiet_folder, store, tmp_path):
    def export(precision, out="engine", folder=quiet_folder):
        return run("export", folder, "--store", store.path, "--format", "openvino", "--precision", precision, "--out",
                   tmp_path / out)

    return export


@pytest.mark.parametrize("precision", FASTER)
def test_the_map_of_a_faster_engine_is_still_the_decision(precision, export, quiet_folder, store, tmp_path):
    done = export(precision)
    assert done.exit_code == 0, done.output + repr(done.exception)
    assert f"kept: {precision}" in done.output and "on 3 real images" in done.output  # the validation split
    model, exact = load(quiet_folder), load(quiet_folder)
    assert use_engine(model, tmp_path / "engine") == precision
    images = store.select(FINDINGS).batch(range(5))
    got, want = model.explain(images), exact.explain(images)
    gap = (got.attribution - want.attribution).abs().max().item()
    assert 1e-6 < gap < 0.1  # other numbers, of the same maps
    torch.testing.assert_close(got.counterfactual, images + got.attribution)
    assert (got.probabilities - want.probabilities).abs().max() <= verify.LOSSY_PROBABILITY
    torch.testing.assert_close(got.bias + got.contributions.sum((2, 3)), got.logits, rtol=0, atol=1e-4)
    torch.testing.assert_close(model.logits(images), got.logits)


def test_threads_that_share_an_engine_get_the_maps_of_their_own_images(export, quiet_folder, store, tmp_path):
    assert export("float32").exit_code == 0
    model, exact = load(quiet_folder), load(quiet_folder)
    use_engine(model, tmp_path / "engine")
    images = store.select(FINDINGS).batch(range(6))
    want = [exact.explain(image[None]).attribution for image in images]
    for explaining in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        with ThreadPoolExecutor(4) as pool:
            got = list(pool.map(lambda k, m=explaining: m.explain(images[k % 6][None]).attribution, range(120)))
        for k, each in enumerate(got):
            torch.testing.assert_close(each, want[k % 6], rtol=0, atol=1e-4)


INTERRUPTED = """
import signal, sys
from pathlib import Path
from attrinet.export.openvino import OpenVinoMaps
first = OpenVinoMaps(Path(sys.argv[1]), "float32")
second = OpenVinoMaps(Path(sys.argv[1]), "float32")
del first
del second
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_is_still_heard_after_two_engines_are_gone(export, tmp_path):
    export("float32")
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, tmp_path / "engine" / "model.xml"], capture_output=True,
                          text=True, timeout=120)
    assert done.returncode == 0 and done.stdout == "interrupted\n", (done.returncode, done.stderr)


def test_fastest_keeps_one_and_says_what_was_measured(export, quiet_folder, tmp_path):
    done = export("fastest")
    assert done.exit_code == 0, done.output + repr(done.exception)
    facts = json.loads((tmp_path / "engine" / "model.json").read_text())
    measured = facts["verified"]["precisions"]
    assert set(measured) == {"float32", "int8"} | ({"bfloat16"} if BFLOAT16 else set())
    assert next(iter(measured)) == facts["precision"]
    allowed = {name: found["seconds an image"] for name, found in measured.items() if found["allowed"]}
    assert facts["precision"] == min(allowed, key=allowed.get)
    assert {p.name for p in (tmp_path / "engine").iterdir()} == {"model.xml", "model.bin", "model.json"}


def test_what_loses_too_much_is_refused_with_figures_and_the_old_one_stays(export, tmp_path, monkeypatch):
    export("float32")
    before = {p.name: p.read_bytes() for p in (tmp_path / "engine").iterdir()}
    monkeypatch.setattr(verify, "LOSSY_PSNR", 300.0)
    done = export("int8")
    assert isinstance(done.exception, AttrinetError)
    assert "int8 loses too much" in str(done.exception) and " dB" in str(done.exception)
    assert {p.name: p.read_bytes() for p in (tmp_path / "engine").iterdir()} == before


def test_the_loss_is_what_it_says(quiet_folder, store):
    model, images = load(quiet_folder), store.select(FINDINGS).batch(range(6))
    found = verify.losses(model, {
        "off": lambda x: model.attribution_maps(x)[0] + 0.02, "none": lambda x: model.attribution_maps(x)[0] * math.nan,
    }, images)
    lost = found["off"]
    assert lost.psnr == pytest.approx(20 * math.log10(2 / 0.02), abs=1e-3)
    weights = torch.stack([c.weight.sum() for c in model.classifiers])
    want = (model.logits(images) + 0.02 * weights).sigmoid() - model.explain(images).probabilities
    assert lost.probability == pytest.approx(want.abs().max().item(), abs=1e-6)
    assert verify.Loss(0.01, 40.0).allowed
    assert not verify.Loss(0.0101, 60.0).allowed and not verify.Loss(0.0, 39.9).allowed
    assert not found["none"].allowed


@pytest.mark.parametrize(("arguments", "message"), [
    (("--precision", "int8"), "only with --format openvino"),
    (("--precision", "float8", "--format", "openvino"), "--precision float8: choose one of"),
    (("--precision", "int8", "--format", "openvino"), "add --store"),
])
def test_a_precision_that_cannot_be_judged_is_refused(arguments, message, quiet_folder, tmp_path):
    done = run("export", quiet_folder, "--out", tmp_path / "out", *arguments)
    assert isinstance(done.exception, AttrinetError) and message in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_only_the_engine_of_the_same_weights_is_used(export, quiet_folder, phantom_model, tmp_path):
    with pytest.raises(AttrinetError, match="model.json: not of attrinet export"):
        use_engine(load(quiet_folder), tmp_path)
    export("float32")
    with pytest.raises(AttrinetError, match="exported from a model of other weights"):
        use_engine(load(phantom_model), tmp_path / "engine")
    (tmp_path / "engine" / "model.xml").write_text("<net")
    with pytest.raises(AttrinetError, match="model.xml: is not the file that model.json tells of"):
        use_engine(load(quiet_folder), tmp_path / "engine")
    facts = tmp_path / "engine" / "model.json"  # a file that only another version of OpenVINO reads
    told = json.loads(facts.read_text())
    told["formats"]["openvino"]["files"]["model.xml"] = checksum(tmp_path / "engine" / "model.xml")
    facts.write_text(json.dumps(told))
    with pytest.raises(AttrinetError, match="OpenVINO cannot read it"):
        use_engine(load(quiet_folder), tmp_path / "engine")
    (tmp_path / "engine" / "model.bin").unlink()
    with pytest.raises(AttrinetError, match="holds no model.xml and model.bin"):
        use_engine(load(quiet_folder), tmp_path / "engine")


def test_another_format_beside_it_leaves_an_engine_usable_only_if_it_is_of_the_same_weights(
    export, quiet_folder, phantom_model, tmp_path
):
    export("float32", "model/export", quiet_folder)
    folder = tmp_path / "model" / "export"
    assert run("export", quiet_folder, "--out", folder).exit_code == 0  # ONNX
    assert own_engine(load(quiet_folder), folder) == folder
    assert run("export", phantom_model, "--out", folder).exit_code == 0  # ONNX of a model that came after
    assert json.loads((folder / "model.json").read_text())["weights"] == weights_hash(load(phantom_model))
    assert (folder / "model.xml").exists()  # of the old weights
    for model in (load(quiet_folder), load(phantom_model)):
        assert own_engine(model, folder) is None
        with pytest.raises(AttrinetError, match="not of attrinet export --format openvino"):
            use_engine(model, folder)


def test_a_store_is_explained_by_an_engine_and_not_mixed_with_another(export, quiet_folder, store, tmp_path):
    for precision in ("int8", "float32"):
        export(precision, precision)

    def explain(out, *arguments):
        return run("explain-store", quiet_folder, "--store", store.path, "--out", tmp_path / out, *arguments)

    assert explain("torch").exit_code == 0 and explain("fast", "--engine", tmp_path / "int8").exit_code == 0
    ours, fast = (pd.read_parquet(tmp_path / name / "predictions") for name in ("torch", "fast"))
    assert (ours["id"] == fast["id"]).all() and not ours["logit"].equals(fast["logit"])
    assert (ours["probability"] - fast["probability"]).abs().max() <= verify.LOSSY_PROBABILITY
    mixed = explain("fast", "--engine", tmp_path / "float32")
    assert isinstance(mixed.exception, AttrinetError) and "explanations of another engine" in str(mixed.exception)


def test_the_export_beside_a_run_is_used_without_asking_if_it_is_of_the_same_weights(
    export, quiet_folder, store, tmp_path,
):
    model = shutil.copytree(quiet_folder, tmp_path / "model")

    def explain(out, *arguments):
        done = run("explain-store", model, "--store", store.path, "--out", tmp_path / out, *arguments)
        assert done.exit_code == 0, done.output
        (said,) = [line for line in done.output.splitlines() if "maps by" in line]
        return said, pd.read_parquet(tmp_path / out / "predictions")

    said, plain = explain("before")
    assert said.endswith("maps by PyTorch")
    export("int8", "model/export")
    said, fast = explain("fast")
    assert said.endswith(f"maps by OpenVINO in int8 ({model / 'export'})")
    assert fast.equals(explain("named", "--engine", model / "export")[1]) and not fast["logit"].equals(plain["logit"])
    said, again = explain("asked", "--engine", "none")
    assert said.endswith("maps by PyTorch") and again.equals(plain)
    facts = model / "export" / "model.json"
    facts.write_text(json.dumps(json.loads(facts.read_text()) | {"weights": "0" * 16}))
    assert explain("other")[0].endswith("maps by PyTorch")


def test_bfloat16_of_pytorch_is_refused_where_openvino_makes_the_maps(export, quiet_folder, store, tmp_path):
    export("float32")
    words = ("explain-store", quiet_folder, "--store", store.path, "--out", tmp_path / "x", "--precision", "bf16")
    done = run(*words, "--engine", tmp_path / "engine")
    assert isinstance(done.exception, AttrinetError) and "--engine none" in str(done.exception)
    assert "maps by PyTorch in bfloat16" in run(*words).output
