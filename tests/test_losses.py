"""Every loss against the authors' numbers and against a computation of its own."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attrinet import losses
from reference import CLASSES


@pytest.mark.parametrize("c", CLASSES)
def test_losses_and_gradients_meet_the_reference(reference, c):
    model, x = reference.model, reference.x
    maps, fake = (t.detach() for t in model.generator(x, c))
    want = lambda name: reference[f"class{c}/{name}"]  # noqa: E731
    labels = reference["labels"]

    got = {
        "bce": losses.classification_loss(model.classify(maps, c), labels),
        "center_loss": losses.center_loss(maps[:2], maps[2:], model.centers[c]),
        "l1_negative": losses.l1_loss(maps[:2], maps[2:], 1, 0),
        "l1_positive": losses.l1_loss(maps[:2], maps[2:], 0, 1),
    }
    mask = torch.zeros(2, 128, 128)
    mask[:, 20:60, 30:80] = 1  # x=30 y=20 w=50 h=40
    got["guidance_loss"] = losses.guidance_loss(maps[2:], mask, "none")
    penalty = losses.gradient_penalty(lambda z: model.critic(z, c), x, fake, reference["gradient_penalty_alpha"])
    got["gradient_penalty"] = 10 * penalty
    real, false = model.critic(x[:2], c), model.critic(fake[2:], c)
    got["critic_loss"] = losses.critic_loss(real, false) + 10 * penalty

    first, last = torch.autograd.grad(
        got["critic_loss"], [model.critic.stem.conv.weight, model.critic.last.weight], retain_graph=True
    )
    got |= {"critic_grad_conv_first": first, "critic_grad_conv_last": last}
    for name, value in got.items():
        scale = want(name).abs().max().item()
        torch.testing.assert_close(value, want(name), rtol=1e-4, atol=1e-4 * scale, msg=lambda m, n=name: f"{n}: {m}")


def test_penalty_is_zero_for_a_critic_of_slope_one_and_known_for_others():
    x, fake, alpha = torch.randn(3, 1, 4, 4), torch.randn(3, 1, 4, 4), torch.rand(3)
    for slope in (1.0, 3.0):
        direction = torch.zeros(16)
        direction[5] = slope
        penalty = losses.gradient_penalty(lambda z, d=direction: z.flatten(1) @ d, x, fake, alpha)
        assert penalty.item() == pytest.approx((slope - 1) ** 2, abs=1e-6)


def test_penalty_is_taken_between_image_and_counterfactual():
    # D(z) = |z|² / 2 has the gradient z itself, so the penalty tells where it was taken
    x, fake = torch.full((1, 1, 1, 1), 4.0), torch.full((1, 1, 1, 1), 2.0)
    penalty = losses.gradient_penalty(lambda z: z.square().flatten(1).sum(1) / 2, x, fake, torch.tensor([0.25]))
    assert penalty.item() == pytest.approx((0.25 * 4 + 0.75 * 2 - 1) ** 2)


def test_adversarial_and_critic_loss_pull_against_each_other():
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([5.0, 9.0])
    assert losses.critic_loss(real, fake).item() == pytest.approx(7 - 2)
    assert losses.adversarial_loss(fake).item() == pytest.approx(-7)


def test_l1_mean_and_sum_differ_by_the_number_of_pixels():
    neg, pos = torch.randn(2, 1, 8, 8), torch.randn(2, 1, 8, 8)
    mean = losses.l1_loss(neg, pos)
    by_hand = 2 * sum(abs(v) for v in neg.flatten().tolist()) / 128 + sum(abs(v) for v in pos.flatten().tolist()) / 128
    assert mean.item() == pytest.approx(by_hand, rel=1e-5)
    assert losses.l1_loss(neg, pos, norm="sum").item() == pytest.approx(64 * mean.item(), rel=1e-5)


def test_center_loss_equals_the_authors_coded_form_for_equal_batches():
    neg, pos, centers = torch.randn(3, 1, 5, 5), torch.randn(3, 1, 5, 5), torch.randn(2, 5, 5)
    coded = sum((m[0] - centers[k]).square().sum() for k, half in enumerate((neg, pos)) for m in half) / 6
    torch.testing.assert_close(losses.center_loss(neg, pos, centers), coded)


@given(st.integers(1, 3), st.integers(0, 2**31 - 1))
def test_guidance_loss_is_the_share_of_energy_outside(batch, seed):
    g = torch.Generator().manual_seed(seed)
    maps = torch.randn(batch, 1, 6, 7, generator=g, dtype=torch.double)
    masks = (torch.rand(batch, 6, 7, generator=g) > 0.5).double()
    each = [
        1 - sum(abs(m) * k for m, k in zip(maps[b].flatten().tolist(), masks[b].flatten().tolist(), strict=True))
        / sum(abs(m) for m in maps[b].flatten().tolist())
        for b in range(batch)
    ]
    assert losses.guidance_loss(maps, masks).item() == pytest.approx(sum(each) / batch)
    assert losses.guidance_loss(maps, masks, "sum").item() == pytest.approx(sum(each))


def test_guidance_loss_gradient_matches_finite_differences():
    g = torch.Generator().manual_seed(1)
    maps = torch.randn(2, 1, 4, 4, generator=g, dtype=torch.double, requires_grad=True)
    masks = (torch.rand(2, 4, 4, generator=g) > 0.5).double()
    assert torch.autograd.gradcheck(lambda m: losses.guidance_loss(m, masks), maps)


@pytest.mark.parametrize("weight", [1, 30, 1000])
def test_guidance_loss_of_a_zero_map_is_one_and_its_gradient_zero_whatever_its_weight(weight):
    maps = torch.zeros(1, 1, 4, 4, requires_grad=True)
    loss = losses.guidance_loss(maps, torch.ones(1, 4, 4))
    (weight * loss).backward()
    assert loss.item() == 1 and not maps.grad.any()


def test_guidance_loss_of_nearly_nothing_has_a_bounded_gradient():
    maps = torch.full((1, 1, 4, 4), 1e-30, requires_grad=True)
    losses.guidance_loss(maps, torch.eye(4)[None]).backward()
    assert maps.grad.abs().max() <= 1 / losses.SMALLEST_ENERGY


def test_classification_loss_is_binary_cross_entropy():
    logits, labels = torch.tensor([0.3, -2.0]), torch.tensor([1.0, 0.0])
    by_hand = (math.log1p(math.exp(-0.3)) + math.log1p(math.exp(-2.0))) / 2
    assert losses.classification_loss(logits, labels).item() == pytest.approx(by_hand, rel=1e-6)


def test_the_penalty_trains_the_critic():
    # D(z) = w · z in one pixel: the penalty is (|w| − 1)², its derivative 2 (w − 1)
    w, x = torch.tensor(3.0, requires_grad=True), torch.zeros(2, 1, 1, 1)
    losses.gradient_penalty(lambda z: w * z.flatten(1).sum(1), x, x, torch.rand(2)).backward()
    assert w.grad.item() == pytest.approx(2 * (3 - 1))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_input_is_summed_in_float32(dtype):
    scores = torch.tensor([1.0, 2.0, 2.0], dtype=dtype)
    assert losses.adversarial_loss(scores).dtype == torch.float32
    assert losses.adversarial_loss(scores).item() == pytest.approx(-5 / 3, rel=1e-6)


def test_guidance_loss_without_reduction_is_one_number_an_image():
    maps, masks = torch.ones(2, 1, 2, 2), torch.zeros(2, 2, 2)
    masks[0, 0], masks[1, 0, 0] = 1, 1
    torch.testing.assert_close(losses.guidance_loss(maps, masks, "none"), torch.tensor([0.5, 0.75]))
