"""The post-hoc methods on the package's own networks, not only on toys."""

import pytest
import torch
import torch.nn.functional as F

from attrinet.baselines.resnet import ResNet50
from attrinet.errors import AttrinetError
from attrinet.nets.attrinet import AttriNet
from attrinet.posthoc.autoencoder import ConvAutoencoder
from attrinet.posthoc.build import NAMES, OUTSIDE, PUBLISHED, build
from attrinet.posthoc.integrated_gradients import IntegratedGradients
from attrinet.posthoc.lime import Lime
from attrinet.posthoc.shap import Shap

FINDINGS = ("a", "b")


@pytest.fixture(scope="module")
def x():
    return torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture(scope="module")
def attrinet():
    torch.manual_seed(0)
    return AttriNet(FINDINGS, 32, width=4, critic=False).eval()


class GuidedRelu(torch.autograd.Function):
    """Springenberg's rule, written out."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient.clamp(min=0) * (x > 0)


def test_guided_backprop_reaches_every_rectifier_of_the_resnet(x, monkeypatch):
    torch.manual_seed(0)
    model = ResNet50(FINDINGS, 32, width=4, depth=18).eval()
    found = build("guided_backprop", model).attribute(x, 1)
    plain = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(plain)[:, 1].sum(), plain)
    monkeypatch.setattr(F, "relu", lambda x, inplace=False: GuidedRelu.apply(x))
    guided = x.clone().requires_grad_()
    (want,) = torch.autograd.grad(model(guided)[:, 1].sum(), guided)
    assert want.abs().max() > 0 and not torch.allclose(want, gradient, rtol=1e-2)
    torch.testing.assert_close(found, want[:, 0], rtol=1e-4, atol=1e-7)


def test_attri_net_seen_from_outside_gives_its_own_logits_and_can_be_explained(attrinet, x):
    explainer = build("integrated_gradients", attrinet)
    torch.testing.assert_close(explainer.model(x), attrinet.logits(x), rtol=1e-4, atol=1e-6)
    black = attrinet.logits(torch.full_like(x[:1], -1))
    total = explainer.attribute(x[:1], 1).sum()
    torch.testing.assert_close(total, (attrinet.logits(x[:1]) - black)[0, 1], rtol=0.05, atol=1e-3)


@pytest.mark.parametrize("explainer", [
    lambda model: build("gifsplanation", model, autoencoder=ConvAutoencoder(32, width=4)),
    lambda model: IntegratedGradients(build("random", model).model, steps=8),
    lambda model: Shap(build("random", model).model, evaluations=20),
    lambda model: Lime(build("random", model).model, samples=20),
])
def test_one_call_of_attri_net_is_one_pass_of_its_generator(attrinet, x, explainer):
    passes = []
    hook = attrinet.generator.register_forward_hook(lambda _, given, out: passes.append(len(given[0])))
    explainer = explainer(attrinet)
    explainer.attribute(x[:1], 1)
    backward = {"Gifsplanation": 1, "Integrated Gradients": 8}.get(explainer.name, 0)
    hook.remove()
    assert sum(passes) + backward == explainer.cost


@pytest.mark.parametrize("finding", [0, 1])
def test_one_findings_logit_alone_is_that_of_all(attrinet, x, finding):
    torch.testing.assert_close(attrinet.finding_logits(x, finding), attrinet.logits(x)[:, finding],
                               rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in OUTSIDE])
def test_methods_that_weigh_a_classifiers_layers_refuse_attri_net(attrinet, name):
    with pytest.raises(AttrinetError, match="draw a map"):
        build(name, attrinet)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in PUBLISHED])
def test_one_setting_is_not_sold_under_two_names(attrinet, name):
    with pytest.raises(AttrinetError, match="one setting only"):
        build(name, attrinet, as_published=True)


def test_gifsplanation_works_on_attri_net(attrinet, x):
    torch.manual_seed(0)
    found = build("gifsplanation", attrinet, autoencoder=ConvAutoencoder(32, width=4)).attribute(x, 0)
    assert found.shape == (2, 32, 32) and (found >= 0).all() and found.max() > 0
