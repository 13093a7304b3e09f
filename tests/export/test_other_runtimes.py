"""`attrinet export` gives a model whose numbers are PyTorch's, or gives none."""

import json

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch
from click.testing import CliRunner

import attrinet.export.onnx
from attrinet import AttrinetError, save_model
from attrinet.baselines.resnet import ResNet50
from attrinet.cli import cli
from attrinet.export.graph import Graph
from attrinet.export.model import export
from attrinet.export.verify import BOUNDS, probe_images, require
from radiographs import FINDINGS, SIZE


def run(*arguments):
    return CliRunner().invoke(cli, ["export", *map(str, arguments)])


@pytest.fixture(scope="module")
def exported(model_folder, tmp_path_factory):
    """Folder with both formats."""
    folder = tmp_path_factory.mktemp("exported")
    for format in ("onnx", "openvino"):
        done = run(model_folder, "--format", format, "--out", folder)
        assert done.exit_code == 0, done.output
        assert "largest differences: logits" in done.output
    return folder


def test_only_the_finished_files_are_there(exported):
    assert {p.name for p in exported.iterdir()} == {"model.onnx", "model.xml", "model.bin", "model.json"}


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_onnxruntime_gives_the_same_maps_and_probabilities_for_any_batch(exported, model, batch):
    images = torch.rand(batch, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(batch)) * 2 - 1
    session = onnxruntime.InferenceSession(exported / "model.onnx", providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    got = dict(zip(names, session.run(None, {"images": images.numpy()}), strict=True))
    want = model.explain(images)
    assert names == ["logits", "probabilities", "attribution", "contributions"]
    for name in ("probabilities", "attribution", "logits"):
        np.testing.assert_allclose(got[name], getattr(want, name), rtol=0, atol=1e-4)
    np.testing.assert_allclose(got["contributions"], want.contributions, rtol=0, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_openvino_gives_the_same_maps_and_probabilities_for_any_batch(exported, model, batch):
    images = torch.rand(batch, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(batch)) * 2 - 1
    compiled = openvino.Core().compile_model(exported / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    got, want = compiled(images.numpy()), model.explain(images)
    for name in ("probabilities", "attribution", "logits"):
        np.testing.assert_allclose(got[name], getattr(want, name), rtol=0, atol=1e-4)


def test_the_graph_itself_gives_the_numbers_of_explain(model):
    images = probe_images(SIZE, None)
    with torch.no_grad():
        logits, probabilities, attribution, contributions = Graph(model)(images)
    want = model.explain(images)
    torch.testing.assert_close(attribution, want.attribution, rtol=0, atol=5e-5)
    torch.testing.assert_close(contributions, want.contributions, rtol=0, atol=1e-6)
    torch.testing.assert_close(logits, want.logits, rtol=0, atol=1e-5)
    torch.testing.assert_close(probabilities, want.probabilities, rtol=0, atol=1e-5)


def test_what_the_numbers_mean_goes_with_them(exported, model):
    beside = json.loads((exported / "model.json").read_text())
    within = {p.key: json.loads(p.value) for p in onnx.load(exported / "model.onnx").metadata_props}
    for facts in (beside, within):
        assert facts["findings"] == list(FINDINGS)
        assert facts["thresholds"] == pytest.approx(dict(zip(FINDINGS, (0.2, 0.5, 0.9), strict=True)))
        assert facts["preprocessing"] == {"size": SIZE, "intensity": "paper", "keep_aspect": False}
        assert len(facts["weights"]) == 16
    assert beside["verified"]["bounds"] == BOUNDS
    worst = beside["verified"]["largest differences from PyTorch"]
    assert all(0 <= worst[name] <= BOUNDS[name] for name in BOUNDS) and worst["attribution"] > 0


def test_findings_share_their_convolutions_and_embeddings_are_folded(exported, model):
    graph = onnx.load(exported / "model.onnx").graph
    assert {n.op_type for n in graph.node}.isdisjoint({"Gather", "OneHot", "LeakyRelu"})
    convolutions = sum(p.numel() for name, p in model.generator.named_parameters() if "conv" in name or "last" in name)
    stored = sum(int(np.prod(i.dims)) for i in graph.initializer if len(i.dims) == 4)
    assert stored <= convolutions + len(FINDINGS) * SIZE**2
    assert b"/src/attrinet/" not in (exported / "model.onnx").read_bytes()


def test_a_model_that_differs_is_refused_with_figures_and_the_old_one_stays(model, tmp_path, monkeypatch):
    """A runtime that is right for single images only; OpenVINO was caught so."""
    (tmp_path / "model.onnx").write_text("old")
    right = attrinet.export.onnx.onnx_runner

    def wrong(path):
        runner = right(path)

        def run(images):
            logits, probabilities, attribution, contributions = runner(images)
            return logits, probabilities, attribution + 0.01 * (len(images) == 3), contributions

        return run

    monkeypatch.setattr(attrinet.export.onnx, "onnx_runner", wrong)
    with pytest.raises(AttrinetError, match=r"onnx .*differs from PyTorch: attribution by 0\.01 \(bound 1e-04\)"):
        export(model, "onnx", tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"model.onnx"} and (tmp_path / "model.onnx").read_text() == "old"


def test_not_a_number_is_a_difference():
    with pytest.raises(AttrinetError, match="logits by inf"):
        require({**dict.fromkeys(BOUNDS, 0.0), "logits": float("inf")}, "onnx")


def test_real_images_are_compared_where_the_store_is_there(phantom_model, store, tmp_path):
    done = run(phantom_model, "--store", store.path, "--out", tmp_path)
    assert done.exit_code == 0 and "and 6 real images" in done.output
    assert json.loads((tmp_path / "model.json").read_text())["verified"]["of which real"] == 6


def test_what_cannot_be_exported_is_said(model_folder, tmp_path):
    done = run(model_folder, "--format", "tflite", "--out", tmp_path / "out")
    assert isinstance(done.exception, AttrinetError) and "--format tflite" in str(done.exception)
    save_model(ResNet50(("a",), 32, width=4, depth=18), tmp_path / "resnet", thresholds={"a": 0.5},
               preprocessing={"intensity": "paper", "keep_aspect": False})
    done = run(tmp_path / "resnet", "--out", tmp_path / "out")
    assert isinstance(done.exception, AttrinetError) and "only an Attri-Net" in str(done.exception)
    assert not (tmp_path / "out").exists()
