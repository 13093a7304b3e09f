"""The critic's gradient by its input, written out, is autograd's; what is compiled for a GPU computes the same."""

import pytest
import torch
import torch.nn.functional as F

from attrinet import losses
from attrinet.nets.compiled import compile_in_place, compiles
from attrinet.nets.critic import Critic
from attrinet.nets.generator import Generator
from attrinet.nets.winograd import from_one_channel, to_one_channel
from attrinet.train.steps import critic_terms, judge


@pytest.fixture(scope="module", params=[32, 41], ids=["even", "odd"])  # pixels a side: windows fit, or leave a rest
def case(request):
    torch.manual_seed(0)
    critic = Critic(3, 4, 2)
    images = [torch.rand(2, 1, request.param, request.param) * 2 - 1 for _ in range(3)]
    return critic, *images, torch.rand(2)


def gradients(critic, loss):
    return [g for g in torch.autograd.grad(loss, critic.parameters(), allow_unused=True) if g is not None]


def test_it_is_the_gradient_of_the_score(case):
    critic, x, *_ = case
    x = x.clone().requires_grad_()
    (want,) = torch.autograd.grad(critic(x, 1).sum(), x)
    torch.testing.assert_close(critic.input_gradient(x, torch.tensor([1])), want, rtol=1e-4, atol=1e-7)


def test_the_penalty_on_it_trains_the_critic_as_double_backward_does(case):
    critic, x, fake, _, alpha = case
    want = losses.gradient_penalty(lambda z: critic(z, 2), x, fake, alpha)
    got = losses.norm_penalty(critic.input_gradient(losses.between(x, fake, alpha), 2))
    torch.testing.assert_close(got, want, rtol=1e-5, atol=0)
    for a, b in zip(gradients(critic, got), gradients(critic, want), strict=True):
        assert (a - b).norm() <= 1e-4 * b.norm() + 1e-7


def test_the_critics_losses_are_one_program_that_gives_the_same(case):
    arguments = (*case, torch.tensor([0]))
    program = torch.compile(critic_terms, backend="aot_eager", fullgraph=True, dynamic=False)
    for want, got in zip(critic_terms(*arguments), program(*arguments), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)
    a, b = (gradients(case[0], sum(made(*arguments))) for made in (critic_terms, program))
    for want, got in zip(a, b, strict=True):
        assert (want - got).norm() <= 1e-4 * want.norm() + 1e-7


def test_a_critic_that_judges_gives_gradients_by_the_images_alone(case):
    critic, x, *_ = case
    x = x.clone().requires_grad_()
    scores = judge(critic, x, torch.tensor([1]))
    torch.testing.assert_close(scores, critic(x, 1))
    critic.zero_grad()
    scores.sum().backward()
    assert x.grad.abs().sum() > 0 and all(p.grad is None for p in critic.parameters())
    assert all(p.requires_grad for p in critic.parameters())


@pytest.mark.parametrize("side, padding", [(7, 3), (4, 1), (3, 0)])
def test_convolutions_of_one_channel_in_other_words(side, padding):
    random = torch.Generator().manual_seed(0)
    x, weight = torch.randn(2, 1, 20, 17, generator=random), torch.randn(5, 1, side, side, generator=random)
    torch.testing.assert_close(from_one_channel(x, weight, padding), F.conv2d(x, weight, padding=padding))
    x = torch.randn(2, 5, 20, 17, generator=random)
    weight = weight.transpose(0, 1)
    want = F.conv2d(x, weight, padding=padding)
    torch.testing.assert_close(to_one_channel(x, weight, padding), want, rtol=1e-4, atol=1e-4)


def test_nothing_is_compiled_on_a_cpu():
    assert not compiles(torch.device("cpu"))


def test_a_generator_made_for_inference_computes_the_same_maps(monkeypatch):
    torch.manual_seed(0)
    generator, x = Generator(2, 4, 1), torch.rand(2, 1, 32, 32) * 2 - 1
    with torch.no_grad():
        want = generator(x, torch.tensor([1]))
        monkeypatch.setattr(generator, "compile", lambda **options: None)  # of what is compiled, the other words
        compile_in_place(generator, inference=True)
        calls = []
        monkeypatch.setattr("attrinet.nets.winograd.from_one_channel",
                            lambda *a: calls.append("from") or from_one_channel(*a))
        monkeypatch.setattr("attrinet.nets.winograd.to_one_channel",
                            lambda *a: calls.append("to") or to_one_channel(*a))
        for a, b in zip(generator(x, torch.tensor([1])), want, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert calls == ["from", "to"]
