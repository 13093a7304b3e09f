"""Backbones by name have their published size, start from files of weights, train, stop, load and can be explained."""

import re

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import attrinet
from attrinet.baselines.backbone import BACKBONES, Backbone, load_pretrained
from attrinet.baselines.loop import train
from attrinet.baselines.resnet import ResNet50
from attrinet.errors import AttrinetError
from attrinet.folder import save_model
from attrinet.posthoc.build import build
from attrinet.protocols import Classifier, Explainer
from attrinet.train.checkpoint import checkpoints

NAMES = ["a", "b", "c", "d", "e"]
# published parameters for 3 channels and 1,000 classes (torchvision; EfficientNet's and SENet's authors), features of
# the last map, channels and side of the first convolution
PUBLISHED = {
    "densenet121": (7_978_856, 1024, 64, 7), "densenet169": (14_149_480, 1664, 64, 7),
    "densenet201": (20_013_928, 1920, 64, 7),
    "resnet18": (11_689_512, 512, 64, 7), "resnet34": (21_797_672, 512, 64, 7), "resnet50": (25_557_032, 2048, 64, 7),
    "resnet101": (44_549_160, 2048, 64, 7),
    "seresnet50": (28_088_024, 2048, 64, 7), "seresnet101": (49_326_872, 2048, 64, 7),
    "efficientnet-b0": (5_288_548, 1280, 32, 3), "efficientnet-b1": (7_794_184, 1280, 32, 3),
    "efficientnet-b2": (9_109_994, 1408, 32, 3), "efficientnet-b3": (12_233_232, 1536, 40, 3),
    "efficientnet-b4": (19_341_616, 1792, 48, 3),
}


@pytest.mark.parametrize("name", BACKBONES)
def test_the_parameters_are_the_published_ones_less_two_input_channels_and_the_other_classes(name):
    total, features, channels, side = PUBLISHED[name]
    with torch.device("meta"):
        model = Backbone(NAMES, 320, backbone=name)
    want = total - 2 * channels * side**2 - (1000 - len(NAMES)) * (features + 1)
    assert sum(p.numel() for p in model.parameters()) == want


@pytest.mark.parametrize("name", ["densenet121", "resnet18", "seresnet50", "efficientnet-b0"])
def test_it_classifies_and_any_post_hoc_method_explains_it(name):
    torch.manual_seed(0)
    model = Backbone(NAMES, 64, backbone=name).eval()
    x = torch.rand(2, 1, 64, 64) * 2 - 1
    assert isinstance(model, Classifier) and not isinstance(model, Explainer)
    assert model.logits(x).shape == (2, 5)
    for explainer in ("gradcam", "integrated_gradients", *([] if "efficient" in name else ["guided_backprop"])):
        torch.testing.assert_close(build(explainer, model).attribute(x, 1).shape, (2, 64, 64))
    assert build("gradcam", model, as_published=True).attribute(x, 1).shape == (2, 64, 64)


@pytest.mark.parametrize("name", ["densenet121", "resnet18", "seresnet50", "efficientnet-b0"])
def test_gradcam_looks_at_the_activated_features_that_are_pooled_into_the_logits(name):
    torch.manual_seed(0)
    model = Backbone(NAMES, 64, backbone=name).eval()
    x, seen = torch.rand(2, 1, 64, 64) * 2 - 1, []
    model.gradcam_layer.register_forward_hook(lambda layer, given, out: seen.append(out))
    logits = model.logits(x)
    (features,) = seen
    head = model.net.get_submodule(BACKBONES[name].head)
    torch.testing.assert_close(head(features.mean((2, 3))), logits, rtol=1e-4, atol=1e-5)
    floor = -0.2785 if "efficient" in name else 0  # of swish, of ReLU
    assert features.min() >= floor


def as_torchvision(model, classes=1000):
    """Its weights under torchvision's names, for three channels and other classes."""
    state = {}
    for name, values in model.net.state_dict().items():
        name = re.sub(r"layers\.(norm|conv)(\d)", r"\1\2", name).replace("class_layers.out", "classifier")
        if name.split(".")[0] in ("classifier", "fc"):
            values = torch.rand(classes, *values.shape[1:])
        elif values.ndim == 4 and values.shape[1] == 1:
            values = torch.stack([values[:, 0] / 2, values[:, 0] / 4, values[:, 0] / 4], 1)
        state[name] = values.clone()
    return state


@pytest.mark.parametrize("name", ["densenet121", "resnet18"])
@pytest.mark.parametrize("form", ["torchvision.pth", "wrapped.pt", "own.safetensors", "old.pth"])
def test_pretrained_weights_fill_everything_but_the_head(name, form, tmp_path):
    torch.manual_seed(0)
    pretrained, model = (Backbone(names, 64, backbone=name).eval() for names in (["x", "y"], NAMES))
    fill_statistics(pretrained)
    state = as_torchvision(pretrained)
    path = tmp_path / form
    if form == "old.pth":  # densenet files of 2017: norm.1 for norm1; no counts of batches
        state = {re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", k): v for k, v in state.items()
                 if not k.endswith("num_batches_tracked")}
    if form == "wrapped.pt":
        torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}, path)
    elif form == "own.safetensors":
        save_model(pretrained, tmp_path / "model", thresholds={"x": 0.5, "y": 0.5},
                   preprocessing={"intensity": "paper", "keep_aspect": False})
        path = tmp_path / "model" / "model.safetensors"
    else:
        torch.save(state, path)
    head = model.net.get_submodule(model.family.head).weight.clone()

    load_pretrained(model, path)

    assert model.net.get_submodule(model.family.head).weight.equal(head)
    model.net.set_submodule(model.family.head, nn.Identity())
    pretrained.net.set_submodule(pretrained.family.head, nn.Identity())
    x = torch.rand(2, 1, 64, 64)
    assert pretrained.net(x).std() > 0.01
    torch.testing.assert_close(model.net(x), pretrained.net(x))


@pytest.mark.parametrize("depth", [18, 50])
def test_a_resnet_of_torchvision_s_layout_says_the_same_when_its_weights_are_loaded(depth, tmp_path):
    """The package's own ResNet has that layout (test_resnet.py)."""
    torch.manual_seed(0)
    own, model = ResNet50(NAMES, 160, depth=depth).eval(), Backbone(NAMES, 160, backbone=f"resnet{depth}").eval()
    fill_statistics(own)
    state = {f"{there}.{part}": values for here, there in (("stem.0", "conv1"), ("stem.1", "bn1"))
             for part, values in own.get_submodule(here).state_dict().items()}
    for name, values in own.stages.state_dict().items():
        stage, rest = name.split(".", 1)
        rest = re.sub(r"convs\.(\d)", lambda m: f"conv{int(m[1]) + 1}", rest)
        rest = re.sub(r"norms\.(\d)", lambda m: f"bn{int(m[1]) + 1}", rest).replace("shortcut", "downsample")
        state[f"layer{int(stage) + 1}.{rest}"] = values
    torch.save(state, tmp_path / "weights.pth")
    load_pretrained(model, tmp_path / "weights.pth")
    x = torch.rand(2, 1, 160, 160) * 2 - 1
    seen = []
    model.gradcam_layer.register_forward_hook(lambda layer, given, out: seen.append(out))
    model.logits(x)
    want = own.last_map(x)
    assert want.std() > 0.01
    torch.testing.assert_close(seen[0], want, rtol=1e-4, atol=1e-4 * want.abs().max().item())


def fill_statistics(model):
    """Running statistics as of a trained network; signals neither vanish nor explode."""
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.uniform_(-0.05, 0.05)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)


class Anything:
    """What an unsafe loader would make."""


@pytest.mark.parametrize("content, said", [
    (None, "no such file"),
    (b"no weights", "not a file of weights alone"),
    (Anything(), "not a file of weights alone"),
    ({"epoch": 3}, "holds no weights"),
    ("resnet34", "not the weights of a resnet18: layer1.2.bn1.bias is none of its tensors"),
    ("short", "not the weights of a resnet18: bn1.bias is missing"),
    ("wide", r"not the weights of a resnet18: conv1.weight has the shape \(64, 2, 7, 7\), not \(64, 1, 7, 7\)"),
])
def test_a_file_that_does_not_fit_is_named_with_the_first_reason(content, said, tmp_path):
    path = tmp_path / "weights.pt"
    model = Backbone(NAMES, 64, backbone="resnet18")
    state = model.net.state_dict()
    if content == "resnet34":
        state = Backbone(NAMES, 64, backbone="resnet34").net.state_dict()
    elif content == "short":
        del state["bn1.bias"]
    elif content == "wide":
        state["conv1.weight"] = state["conv1.weight"].repeat(1, 2, 1, 1)
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(state if isinstance(content, str) else content, path)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(AttrinetError, match=f"weights.pt.*{said}"):
        load_pretrained(model, path)
    assert all(v.equal(before[k]) for k, v in model.state_dict().items())


def test_a_model_folder_says_which_backbone_it_is(tmp_path):
    torch.manual_seed(0)
    model = Backbone(NAMES, 64, backbone="resnet18").eval()
    save_model(model, tmp_path, thresholds=dict.fromkeys(NAMES, 0.4),
               preprocessing={"intensity": "paper", "keep_aspect": False})
    again = attrinet.load(tmp_path)
    x = torch.rand(1, 1, 64, 64)
    assert again.name == "MONAI resnet18" and again.logits(x).equal(model.logits(x))
    assert again.thresholds[0] == pytest.approx(0.4)


def test_unknown_names_small_images_and_a_missing_monai_are_said(monkeypatch):
    with pytest.raises(AttrinetError, match=r"model.backbone='densnet121': did you mean 'densenet121'\?"):
        Backbone(NAMES, backbone="densnet121")
    with pytest.raises(AttrinetError, match="image_size=16: must be 32 or more"):
        Backbone(NAMES, 16, backbone="resnet18")
    monkeypatch.setitem(__import__("sys").modules, "monai.networks", None)
    with pytest.raises(AttrinetError, match=r"needs monai.*pip install 'attrinet\[backbones\]'"):
        Backbone(NAMES, backbone="resnet18")


@pytest.mark.parametrize("option, said", [
    ("model.width=8", "a backbone's size is in its name, model.backbone=resnet18"),
    ("model.depth=18", "a backbone's size is in its name"),
    ("guidance.mode=mixed", "a resnet18 has no explanation of its own"),
    ("schedule.steps=3", "is Attri-Net's"),
])
def test_options_that_say_nothing_about_it_are_refused(config, option, said):
    with pytest.raises(AttrinetError, match=said):
        config("backbone", option)


def test_dropout_of_a_resumed_run_is_that_of_the_undisturbed_one(config, tmp_path):
    options = ("model.backbone=efficientnet-b0", "run.checkpoint_every=1000")
    train(config("backbone", *options, "baseline.epochs=1"), tmp_path / "stopped", progress=False)
    torch.manual_seed(7)
    for folder, resume in (("stopped", True), ("whole", False)):
        train(config("backbone", *options), tmp_path / folder, resume=resume, progress=False)
    ends = [load_file(checkpoints(tmp_path / folder / "checkpoints")[-1]) for folder in ("stopped", "whole")]
    assert all(values.equal(ends[1][name]) for name, values in ends[0].items())


def test_a_run_starts_from_pretrained_weights_and_a_resumed_one_does_not_ask_for_them(config, tmp_path):
    torch.manual_seed(5)
    pretrained, weights = Backbone(NAMES, 32, backbone="resnet18"), tmp_path / "weights.pth"
    torch.save(pretrained.net.state_dict(), weights)
    still = ("baseline.lr=0", f"model.weights={weights}", "baseline.epochs=1")
    best = train(config("backbone", *still), tmp_path / "run", progress=False)
    trained = attrinet.load(best).net
    assert trained.conv1.weight.equal(pretrained.net.conv1.weight)
    assert not trained.fc.weight.equal(pretrained.net.fc.weight)
    weights.unlink()
    train(config("backbone", *still, "baseline.epochs=2"), tmp_path / "run", resume=True, progress=False)
    with pytest.raises(AttrinetError, match="no such file"):
        train(config("backbone", *still), tmp_path / "other", progress=False)
    assert not (tmp_path / "other").exists()


def test_a_batch_too_small_to_normalise_over_is_said(config, tmp_path):
    with pytest.raises(AttrinetError, match=r"run.batch_size=1: at 32 pixels .*resnet18.* needs 2 or more images"):
        train(config("backbone", "model.backbone=resnet18", "run.batch_size=1"), tmp_path / "run", progress=False)
