"""B-cos: the explanation is the prediction, exactly, and can itself be trained."""

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from attrinet.baselines.bcos import BcosConv, BcosResNet50, Dynamic, Uncentered, encode
from attrinet.errors import AttrinetError
from attrinet.protocols import Classifier, Explainer

NAMES = ["a", "b", "c", "d", "e"]


def images(batch, size, seed=1):
    return torch.rand(batch, 1, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def bcos(size=32, findings=5, width=4, depth=18, double=True):
    """Random weights, and running deviations such as a trained network has: its own."""
    torch.manual_seed(0)
    model = BcosResNet50(NAMES[:findings], size, width=width, depth=depth)
    model = model.double() if double else model
    norms = [m for m in model.modules() if isinstance(m, Uncentered)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(images(4, size).to(model.head.linear.weight.dtype))
    for norm in norms:
        norm.momentum = 0.1
    return model.eval()


def test_the_parameters_are_a_resnet50_s_without_biases_for_two_input_channels():
    published, norms, head = 25_557_032, 26_560, 2048 * 1000 + 1000  # norms: channels of all batch norms
    want = published - norms - 64 * 7 * 7 - head + 2048 * 5
    assert sum(p.numel() for p in BcosResNet50(NAMES, 320).parameters()) == want
    assert not any("bias" in name for name, _ in BcosResNet50(NAMES, 32, width=2).named_parameters())


def test_nothing_but_b_cos_layers_norms_and_average_pooling_does_anything():
    kinds = {type(m) for m in BcosResNet50(NAMES, 320, width=2).modules() if not list(m.children())}
    assert kinds == {nn.Conv2d, Uncentered, nn.AvgPool2d, nn.Identity}


@pytest.mark.parametrize("size,findings,depth,width", [
    (32, 5, 18, 4), (32, 1, 50, 4), (45, 2, 18, 6), (96, 3, 50, 2), (160, 2, 18, 2),
])
def test_bias_plus_contributions_is_the_logit(size, findings, depth, width):
    model, x = bcos(size, findings, width, depth), images(2, size, 2).double()
    maps, logits = model.contributions(x, range(findings))
    assert maps.shape == (2, findings, size, size) and maps.abs().sum((2, 3)).min() > 1e-3
    torch.testing.assert_close(maps.sum((2, 3)) + model.bias, logits, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(logits, model(x), rtol=1e-12, atol=1e-12)


def test_it_still_is_after_training_steps_and_in_single_precision():
    model, x = bcos(64, 3, double=False).train(), images(4, 64, 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(4):
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(model(x), torch.eye(4)[:, :3]).backward()
        optimizer.step()
    for mode in (True, False):  # of the batch's normalisation, and of the running one
        maps, logits = model.train(mode).contributions(x, [0, 1, 2])
        summed = maps.double().sum((2, 3)) + model.bias
        scale = maps.double().abs().sum((2, 3)) + abs(model.bias)
        assert ((summed - logits.double()).abs() / scale).max() < 1e-5
    out = model.explain(x)
    torch.testing.assert_close(out.contributions.sum((2, 3)) + out.bias, out.logits, rtol=1e-4, atol=1e-4)
    assert out.logits.dtype == out.contributions.dtype == torch.float32


@pytest.mark.parametrize("training", [True, False])
def test_findings_may_be_each_image_s_own(training):
    model, x = bcos().train(training), images(3, 32, 4).double()
    own = torch.tensor([[4, 0], [2, 2], [0, 3]])
    maps, logits = model.contributions(x, range(5))
    some, same = model.contributions(x, own)
    torch.testing.assert_close(some, maps[torch.arange(3)[:, None], own], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(same, logits)


def test_normalisation_divides_by_the_deviation_of_the_batch():
    norm, x = Uncentered(3).double().train(), torch.randn(4, 3, 5, 6, dtype=torch.double) * 2 + 7
    torch.testing.assert_close(norm(x), x / (x.std((0, 2, 3), unbiased=False, keepdim=True) ** 2 + norm.eps).sqrt())
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * x.var((0, 2, 3), unbiased=False).double())


def test_a_region_s_contributions_are_what_the_held_network_makes_of_that_region_alone(monkeypatch):
    model, x = bcos(), images(2, 32, 4).double()
    maps, _ = model.contributions(x, [3])
    weights, plain = [], Dynamic.scale
    monkeypatch.setattr(Dynamic, "scale", lambda self, w, y: (weights.append(w), plain(self, w, y))[1])
    with torch.no_grad():
        model(x)
        region = torch.zeros(32, 32, dtype=torch.double)
        region[5:20, 8:30] = 1
        replay = iter(weights)
        monkeypatch.setattr(Dynamic, "scale", lambda self, w, y: next(replay) * y)
        alone = model._of_encoded(encode(x) * region)[:, 3] - model.bias
    torch.testing.assert_close((maps[:, 0] * region).sum((1, 2)), alone, rtol=1e-9, atol=1e-12)


def test_a_unit_is_large_only_where_patch_and_weight_align():
    unit = BcosConv(2, 1, 3).double()
    w = unit.linear.weight.detach()
    y = unit(w)[0, 0, 1, 1].item()
    assert y == pytest.approx(w.norm().item(), rel=1e-5)  # cos = 1: as an ordinary unit of norm 1
    other = torch.randn(1, 2, 3, 3).double()
    cosine = (other * w).sum() / other.norm() / w.norm()
    want = other.norm() * cosine * cosine.abs()  # ‖x‖ cos |cos|, B = 2
    assert unit(other)[0, 0, 1, 1].item() == pytest.approx(want.item(), rel=1e-5)
    unit.linear.weight.data *= 7
    assert unit(other)[0, 0, 1, 1].item() == pytest.approx(want.item(), rel=1e-5)


def test_images_are_encoded_as_grey_and_its_complement():
    encoded = encode(torch.tensor([-1.0, 0, 1]).view(1, 1, 1, 3))
    assert encoded[0, :, 0].tolist() == [[0, 0.5, 1], [1, 0.5, 0]]


@pytest.mark.parametrize("findings,start", [(5, 1 / 5), (2, 1 / 2), (1, 1 / 2)])
def test_without_evidence_a_finding_is_one_of_c(findings, start):
    assert 1 / (1 + math.exp(-BcosResNet50(NAMES[:findings], 32, width=2, depth=18).bias)) == pytest.approx(start)


def test_it_meets_both_protocols_and_they_agree():
    model, x = bcos(double=False).train(), images(2, 32)
    assert isinstance(model, Classifier) and isinstance(model, Explainer)
    out = model.explain(x)
    assert model.training
    torch.testing.assert_close(out.logits, model.logits(x))
    torch.testing.assert_close(out.probabilities, out.logits.sigmoid())
    torch.testing.assert_close(model.attribute(x, 1), out.contributions[:, 1])
    assert out.evidence.min() == 0 and not out.contributions.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(model.attribute(x, NAMES[1]), out.contributions[:, 1])
    with pytest.raises(AttrinetError, match="finding 7: want"):
        model.attribute(x, 7)


def test_parts_keep_the_mode_they_were_in():
    model, x = bcos(double=False).train(), images(2, 32)
    model.head.eval()
    model.logits(x)
    model.attribute(x, 0)
    assert not model.head.training and model.training and model.stem.training


@pytest.mark.parametrize("training", [True, False])
def test_the_derivative_of_an_explanation_by_every_kind_of_weight_is_that_of_finite_differences(training):
    model, x = bcos(width=3).train(training), images(2, 32, 5).double()

    def energy(differentiable=False):
        maps, _ = model.contributions(x, [1], differentiable=differentiable)
        evidence = maps.clamp(min=0)
        return evidence[..., :16, :].sum() / evidence.sum()

    kinds = [model.stem[0].linear.weight, model.stages[1][0].convs[0].linear.weight, model.stages[2][1].norms[0].weight,
             model.stages[3][0].shortcut[0].linear.weight, model.head.linear.weight]
    slopes = torch.autograd.grad(energy(differentiable=True), kinds)
    for weight, slope in zip(kinds, slopes, strict=True):
        start, direction = weight.data.clone(), torch.randn_like(weight)
        values = []
        for step in (1e-7, -1e-7):
            weight.data = start + step * direction
            values.append(energy().item())
        weight.data = start
        assert (slope * direction).sum().item() == pytest.approx((values[0] - values[1]) / 2e-7, rel=2e-3, abs=1e-6)


def test_the_prediction_is_trained_through_the_dynamic_weights_too():
    model, x = bcos(width=3), images(2, 32, 6).double()
    weight = model.stages[0][0].convs[0].linear.weight
    (slope,) = torch.autograd.grad(model(x)[:, 2].sum(), weight)
    start, direction = weight.data.clone(), torch.randn_like(weight)
    values = []
    for step in (1e-7, -1e-7):
        weight.data = start + step * direction
        values.append(model.logits(x)[:, 2].sum().item())
    assert (slope * direction).sum().item() == pytest.approx((values[0] - values[1]) / 2e-7, rel=1e-4)


def test_threads_that_explain_at_once_get_what_each_would_alone():
    model = bcos(double=False).eval()
    batches = [images(2, 32, seed) for seed in range(4)] * 4
    want = [model.explain(batch).contributions for batch in batches]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda batch: model.explain(batch).contributions, batches))
    for one, other in zip(found, want, strict=True):
        torch.testing.assert_close(one, other)
