"""The faster way to convolve gives what the direct way gives, with its rounding."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from attrinet.nets.generator import Generator
from attrinet.nets.winograd import convolve, to_one_channel, winograd

EPSILON = torch.finfo(torch.float32).eps


def error(got, exact):
    """Root mean square, in standard deviations of what is right."""
    return ((got - exact).square().mean().sqrt() / exact.std()).item()


@pytest.mark.parametrize("size", [(16, 16), (80, 80), (9, 14), (1, 3)])
def test_winograd_rounds_by_some_units_of_the_last_place(size):
    """A direct convolution is off by a few, by how many sums the processor keeps side by side."""
    torch.manual_seed(0)
    x, weight = torch.randn(2, 64, *size), torch.randn(96, 64, 3, 3)
    exact = F.conv2d(x.double(), weight.double(), padding=1)
    assert winograd(x, weight).shape == exact.shape
    assert error(F.conv2d(x, weight, padding=1), exact) < 8 * EPSILON
    assert error(winograd(x, weight), exact) < 16 * EPSILON


def test_one_channel_is_made_by_shifted_sums():
    torch.manual_seed(0)
    x, weight = torch.randn(2, 64, 20, 33), torch.randn(1, 64, 7, 7)
    torch.testing.assert_close(to_one_channel(x, weight, 3), F.conv2d(x, weight, padding=3), rtol=1e-4, atol=1e-4)


def test_a_paper_wide_generator_gives_the_same_maps_with_and_without_a_gradient():
    torch.manual_seed(0)
    generator, x = Generator(2), torch.rand(2, 1, 32, 32) * 2 - 1
    direct = generator(x, 1)[0].detach()
    with torch.no_grad():
        fast = generator(x, 1)[0]
    assert not torch.equal(fast, direct)
    torch.testing.assert_close(fast, direct, rtol=0, atol=2e-5)


def test_where_a_gradient_or_another_precision_is_asked_for_the_layer_itself_convolves():
    torch.manual_seed(0)
    conv, x = nn.Conv2d(64, 64, 3, padding=1, bias=False), torch.randn(1, 64, 8, 8)
    assert torch.equal(convolve(conv, x), conv(x))
    with torch.no_grad():
        assert torch.equal(convolve(conv.double(), x.double()), conv(x.double()))
