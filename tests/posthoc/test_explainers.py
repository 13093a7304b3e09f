"""Promises of every explainer: the protocol, where evidence is found, cost, seeds, and words for wrong input."""

import math

import pytest
import torch
from torch import nn

from attrinet.errors import AttrinetError
from attrinet.nets.attrinet import AttriNet
from attrinet.posthoc.build import NAMES, build
from attrinet.posthoc.floors import Random
from attrinet.posthoc.gifsplanation import Gifsplanation
from attrinet.posthoc.gradcam import GradCam
from attrinet.posthoc.guided_backprop import GuidedBackprop
from attrinet.posthoc.integrated_gradients import IntegratedGradients
from attrinet.posthoc.lime import Lime
from attrinet.posthoc.shap import Shap
from attrinet.protocols import Explainer
from planted import BlockAutoencoder, Planted, window

FLOORS = ("random", "uniform")
METHODS = [name for name in NAMES if name not in FLOORS]


def small(name: str, model, size: int = 64, calls: int = 100):
    """The explainer with as few calls as a test needs."""
    few = {
        "integrated_gradients": lambda: IntegratedGradients(model, steps=16),
        "lime": lambda: Lime(model, samples=calls),
        "shap": lambda: Shap(model, evaluations=calls),
    }
    return few.get(name, lambda: build(name, model, autoencoder=BlockAutoencoder(size)))()


@pytest.mark.parametrize("name", NAMES)
def test_explainers_meet_the_protocol_at_any_size(name, model):
    for height, width in ((64, 64), (80, 96)):
        explainer = small(name, model, 80)
        x = torch.rand(2, 1, height, width) * 2 - 1
        found = explainer.attribute(x, 1)
        assert isinstance(explainer, Explainer) and explainer.device == torch.device("cpu")
        assert found.shape == (2, height, width) and found.dtype == torch.float32
        assert torch.isfinite(found).all() and not found.requires_grad and not x.requires_grad


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("finding", [0, 1])
def test_most_positive_attribution_is_where_the_evidence_was_planted_and_not_on_the_other_finding(
    name, finding, model, images
):
    positive = small(name, model, calls=600).attribute(images[:1], finding)[0].clamp(min=0)
    own, other = (positive[window(c)].sum() / positive.sum() for c in (finding, 1 - finding))
    assert own > (0.4 if name == "lime" else 0.9)  # LIME has sampling noise on every superpixel
    assert other < 0.06


@pytest.mark.parametrize("name", FLOORS)
def test_floors_are_as_good_as_chance(name, model, images):
    positive = small(name, model).attribute(images[:1], 0)[0]
    area = window(0).float().mean()
    assert (positive[window(0)].sum() / positive.sum() - area).abs() < 0.02


@pytest.mark.parametrize("name", NAMES)
def test_cost_is_the_number_of_images_that_went_forward_or_backward(name, model, images):
    explainer = small(name, model)
    explainer.attribute(images, 0)
    assert model.passes / len(images) == explainer.cost


@pytest.mark.parametrize("name", ["gradcam", "lime", "shap", "gifsplanation"])
def test_cost_of_the_published_setting_is_counted_too(name, model, images):
    explainer = build(name, model, autoencoder=BlockAutoencoder(64), as_published=True)
    explainer.attribute(images[:1], 0)
    assert model.passes == explainer.cost


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_map_whatever_the_batch(name, model, images):
    together = small(name, model).attribute(images, 0)
    alone = torch.cat([small(name, model).attribute(image[None], 0) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert torch.equal(together, small(name, model).attribute(images, 0))


def test_another_seed_gives_another_map_where_there_is_chance(model, images):
    for explainer in (Lime, Random):
        one, two = (explainer(model, seed=seed).attribute(images[:1], 0) for seed in (0, 1))
        assert not torch.equal(one, two)


@pytest.mark.parametrize("name", METHODS)
def test_the_logit_of_another_finding_does_not_change_the_map(name, images):
    model, other = Planted().eval(), Planted().eval()
    with torch.no_grad():
        other.head.bias[1] += 5
        other.head.weight[1] *= -2
    one, two = (small(name, m).attribute(images[:1], 0) for m in (model, other))
    torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)


def test_a_finding_is_given_by_name_or_index(model, images):
    for name in NAMES:
        explainer = small(name, model)
        assert torch.equal(explainer.attribute(images[:1], "vertical"), explainer.attribute(images[:1], 1))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "images, finding, words",
    [
        (torch.zeros(1, 1, 64, 64), 2, "an index below 2"),
        (torch.zeros(1, 1, 64, 64), -1, "an index below 2"),
        (torch.zeros(1, 1, 64, 64), "vertikal", "'vertical'"),
        (torch.zeros(1, 3, 64, 64), 0, "B, 1, H, W"),
        (torch.zeros(1, 64, 64), 0, "B, 1, H, W"),
        (torch.full((1, 1, 64, 64), 255.0), 0, r"\[-1, 1\]"),
        (torch.full((1, 1, 64, 64), float("nan")), 0, r"\[-1, 1\]"),
    ],
)
def test_wrong_input_is_refused_in_words_that_help(name, images, finding, words, model):
    with pytest.raises(AttrinetError, match=words):
        small(name, model).attribute(images, finding)


def test_models_that_cannot_be_explained_are_refused(images):
    with pytest.raises(AttrinetError, match="eval()"):
        GradCam(Planted()).attribute(images, 0)
    with pytest.raises(AttrinetError, match="explains itself"):
        IntegratedGradients(AttriNet(["a"], 64, width=2, critic=False).eval()).attribute(images, 0)
    smooth = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sigmoid(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    smooth.findings = ("a", "b")
    with pytest.raises(AttrinetError, match="no nn.ReLU"):
        GuidedBackprop(smooth).attribute(images, 0)
    with pytest.raises(AttrinetError, match="gradcam_layer"):
        GradCam(smooth).attribute(images, 0)


def test_explaining_changes_nothing_in_the_model(model, images):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():  # as a caller may have it
        for name in METHODS:
            small(name, model).attribute(images[:1], 0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.stage[1].inplace and not model.stage[1]._forward_hooks and not model.stage[1]._backward_hooks


def test_names_that_are_unknown_and_what_is_missing_are_said(model, monkeypatch):
    with pytest.raises(AttrinetError, match="'gradcam'"):
        build("grad_cam", model)
    with pytest.raises(AttrinetError, match="autoencoder"):
        build("gifsplanation", model)
    monkeypatch.setitem(__import__("sys").modules, "attrinet.posthoc.shap", None)
    with pytest.raises(AttrinetError, match=r"attrinet\[posthoc\]"):
        build("shap", model)


def test_cost_of_gifsplanation_is_unknown_before_it_has_explained(model):
    assert math.isnan(Gifsplanation(model, BlockAutoencoder(64)).cost)
