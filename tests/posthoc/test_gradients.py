"""Guided Backprop, Grad-CAM and Integrated Gradients against the same written out by hand."""

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d, correlate2d
from torch import nn

from attrinet.posthoc.gradcam import GradCam
from attrinet.posthoc.guided_backprop import GuidedBackprop
from attrinet.posthoc.integrated_gradients import BLACK, IntegratedGradients


class Tiny(nn.Module):
    """conv 1→2, ReLU, conv 2→2 (stride 1 or 2), ReLU, mean over space, linear 2→2."""

    findings = ("a", "b")

    def __init__(self, stride: int = 1):
        torch.manual_seed(3)
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU())
        self.stage = nn.Sequential(nn.Conv2d(2, 2, 3, stride, padding=1), nn.ReLU())
        self.head = nn.Linear(2, 2)
        with torch.no_grad():
            self.head.weight[:] = torch.tensor([[1.0, -0.5], [0.7, 0.9]])
            self.stage[0].bias.fill_(0.2)  # some units on, some off
        self.eval()

    @property
    def gradcam_layer(self):
        return self.stage

    def forward(self, images):
        return self.head(self.stage(self.stem(images)).mean((2, 3)))


def weights(model: Tiny) -> list[np.ndarray]:
    return [value.detach().double().numpy() for value in model.parameters()]


def forward(model: Tiny, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both layers before their ReLU, by SciPy's correlation."""
    k1, b1, k2, b2, _, _ = weights(model)
    first = np.stack([correlate2d(x, k1[i, 0], "same") + b1[i] for i in range(2)])
    a = np.maximum(first, 0)
    return first, np.stack([sum(correlate2d(a[j], k2[i, j], "same") for j in range(2)) + b2[i] for i in range(2)])


@pytest.fixture
def x():
    return torch.rand(1, 1, 12, 10, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.mark.parametrize("finding", [0, 1])
def test_guided_backprop_lets_only_positive_gradients_through_active_relus(x, finding):
    model = Tiny()
    k1, _, k2, _, head, _ = weights(model)
    first, second = forward(model, x[0, 0].double().numpy())
    guided = np.maximum(np.broadcast_to(head[finding][:, None, None] / second[0].size, second.shape), 0) * (second > 0)
    back = np.stack([sum(convolve2d(guided[i], k2[i, j], "same") for i in range(2)) for j in range(2)])
    guided = np.maximum(back, 0) * (first > 0)
    expected = sum(convolve2d(guided[i], k1[i, 0], "same") for i in range(2))
    found = GuidedBackprop(model).attribute(x, finding)[0]
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("finding", [0, 1])
def test_gradcam_is_the_relu_of_the_maps_weighed_by_their_mean_gradient(x, finding):
    model = Tiny()
    head = weights(model)[4]
    maps = np.maximum(forward(model, x[0, 0].double().numpy())[1], 0)
    expected = np.maximum((head[finding][:, None, None] / maps[0].size * maps).sum(0), 0)
    np.testing.assert_allclose(GradCam(model).attribute(x, finding)[0], expected, rtol=1e-4, atol=1e-8)


def test_gradcam_is_upsampled_between_the_centres_of_its_cells(x):
    model = Tiny(stride=2)
    whole = np.maximum(forward(model, x[0, 0].double().numpy())[1][:, ::2, ::2], 0)
    cam = np.maximum((weights(model)[4][0][:, None, None] / whole[0].size * whole).sum(0), 0)
    rows, columns = ((np.arange(n) + 0.5) / 2 - 0.5 for n in (12, 10))
    tall = np.stack([np.interp(rows, np.arange(6), line) for line in cam.T], 1)
    expected = np.stack([np.interp(columns, np.arange(5), line) for line in tall])
    np.testing.assert_allclose(GradCam(model).attribute(x, 0)[0], expected, rtol=1e-4, atol=1e-7)


def test_published_gradcam_uses_the_last_convolution_and_the_nearest_cell(x):
    model = Tiny(stride=2)
    raw = forward(model, x[0, 0].double().numpy())[1][:, ::2, ::2]
    weight = weights(model)[4][1][:, None, None] / raw[0].size * (raw > 0).mean((1, 2), keepdims=True)
    cam = np.maximum((weight * raw).sum(0), 0)
    found = GradCam(model, as_published=True).attribute(x, 1)[0]
    np.testing.assert_allclose(found, cam.repeat(2, 0).repeat(2, 1), rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("finding", [0, 1])
def test_integrated_gradients_sum_to_the_logit_above_black(model, images, x, finding):
    tiny = Tiny()
    with torch.no_grad():
        rise = (tiny(x) - tiny(torch.full_like(x, BLACK)))[:, finding]
    summed = IntegratedGradients(tiny).attribute(x, finding).sum((1, 2))
    torch.testing.assert_close(summed, rise, rtol=0, atol=1e-2)

    with torch.no_grad():  # every unit has a kink here: the authors ask for 5 %
        rise = (model(images[:1]) - model(torch.full_like(images[:1], BLACK)))[:, finding]
    summed = IntegratedGradients(model).attribute(images[:1], finding).sum((1, 2))
    torch.testing.assert_close(summed, rise, rtol=0.05, atol=0)


def test_integrated_gradients_of_a_linear_model_are_weight_times_distance_from_black(x):
    model = nn.Sequential(nn.Flatten(), nn.Linear(120, 2)).eval()
    model.findings = ("a", "b")
    expected = model[1].weight[1].detach().view(12, 10) * (x[0, 0] + 1)
    torch.testing.assert_close(IntegratedGradients(model, steps=3).attribute(x, 1)[0], expected, rtol=1e-4, atol=1e-6)
