"""Latent shift on a linear autoencoder and classifier, where every frame is known in closed form."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from attrinet.posthoc.gifsplanation import Gifsplanation, resized

SIZE = 8


class LinearAutoencoder:
    """Six orthonormal directions of the image."""

    image_size = SIZE

    def __init__(self):
        gaussian = torch.randn(SIZE**2, 6, generator=torch.Generator().manual_seed(0))
        self.basis = torch.linalg.qr(gaussian)[0]

    def encode(self, images):
        return images.flatten(1) @ self.basis

    def decode(self, latent):
        return (latent @ self.basis.T).view(-1, 1, SIZE, SIZE)


def linear(gain: float, bias: float) -> nn.Sequential:
    model = nn.Sequential(nn.Flatten(), nn.Linear(SIZE**2, 2)).eval()
    model.findings = ("a", "b")
    with torch.no_grad():
        model[1].weight.normal_(generator=torch.Generator().manual_seed(1)).mul_(gain)
        model[1].bias.fill_(bias)
    return model


def sigmoid(t: float) -> float:
    return 1 / (1 + math.exp(-t))


@pytest.fixture
def x():
    return torch.rand(3, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(2)) * 2 - 1


def closed_form(ae, model, image, finding) -> tuple[np.ndarray, int]:
    """Change of the last frame and the number of search steps, from the formulas of the search alone."""
    basis, w = ae.basis.double().numpy(), model[1].weight[finding].detach().double().numpy()
    z = basis.T @ image.double().numpy().ravel()
    g = basis.T @ w
    start, slope, norm = w @ basis @ z + model[1].bias[finding].item(), np.linalg.norm(g), np.linalg.norm(z)
    largest = 0.05 * np.abs(basis @ z).sum()
    for steps in range(1, 100):
        shift = 0.1 * (1.1**steps - 1)  # 1 % of ‖z‖, each step longer by a tenth of the way
        p, change = sigmoid(start - shift * norm * slope), np.abs(shift * norm * basis @ g / slope)
        if p < 0.05 or p < sigmoid(start) - 0.8 or change.sum() > largest or shift >= 3:
            return change.reshape(SIZE, SIZE), steps
    raise AssertionError


@pytest.mark.parametrize("gain, bias", [(0.3, 3.0), (5.0, 1.0), (50.0, 0.0), (0.3, -9.0)])
@pytest.mark.parametrize("finding", [0, 1])
def test_the_map_is_the_change_of_the_frame_where_the_search_stops(x, gain, bias, finding):
    ae, model = LinearAutoencoder(), linear(gain, bias)
    explainer = Gifsplanation(model, ae)
    found = explainer.attribute(x, finding)
    expected, steps = zip(*[closed_form(ae, model, image, finding) for image in x], strict=True)
    np.testing.assert_allclose(found, np.stack(expected), rtol=1e-3, atol=1e-6)
    assert explainer.cost == pytest.approx(2 + np.mean(steps))


def test_an_image_without_the_finding_has_a_faint_map_of_one_step(x):
    ae, explainer = LinearAutoencoder(), Gifsplanation(linear(0.3, -9.0), LinearAutoencoder())
    found = explainer.attribute(x, 0)
    assert explainer.cost == 3
    torch.testing.assert_close(found.flatten(1).norm(dim=1), 0.01 * ae.encode(x).norm(dim=1))


def test_published_setting_walks_lambda_until_the_probability_fell_by_015(x):
    ae, model = LinearAutoencoder(), linear(2e-5, 0.5)
    basis, w = ae.basis.double().numpy(), model[1].weight[0].detach().double().numpy()
    z, g = basis.T @ x[0].double().numpy().ravel(), basis.T @ w
    logit = 1024 * w @ basis @ z + model[1].bias[0].item()
    gradient = sigmoid(logit) * (1 - sigmoid(logit)) * 1024 * g
    lam = 0
    while lam > -1000 and sigmoid(logit + 1024 * lam * g @ gradient) >= sigmoid(logit) - 0.15:
        lam -= 1 if lam > -10 else 10
    assert lam < -20  # neither at once nor at the end
    expected = np.abs(lam * basis @ gradient).reshape(SIZE, SIZE)
    found = Gifsplanation(model, ae, as_published=True).attribute(x[:1], 0)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-7)


GAIN = 0.1


class OneNumber:
    """An image is one number: its first pixel. The second swings with it, all others are white."""

    image_size = SIZE

    def encode(self, images):
        return images[:, 0, 0, :1] / GAIN

    def decode(self, latent):
        number = GAIN * latent[:, 0]
        images = torch.ones(len(latent), 1, SIZE, SIZE)
        images[:, 0, 0, 0], images[:, 0, 0, 1] = number, swing(number)
        return images


def swing(number):
    return (10 * number).sin() / 10


class OfFirstPixel(nn.Module):
    findings = ("a",)

    def __init__(self, logit, scale=1):
        super().__init__()
        self.logit, self.scale = logit, scale

    def forward(self, images):
        return self.logit(images[:, 0, 0, :1] / self.scale)


def explained(model, **options):
    white = torch.ones(1, 1, SIZE, SIZE)
    return Gifsplanation(model.eval(), OneNumber(), **options).attribute(white, 0)[0]


def test_the_map_is_the_largest_change_on_the_way_also_of_what_changes_back():
    found = explained(OfFirstPixel(lambda number: 8 * (number - 0.5)))
    reach = found[0, 0].item()
    assert reach == pytest.approx(0.1 * (1.1**22 - 1))  # the first step at which the probability has fallen by 0.8
    numbers = 1 - reach * torch.linspace(1, 0, 10)
    changes = (swing(numbers) - swing(torch.ones(1))).abs()
    torch.testing.assert_close(found[0, 1], changes.max(), rtol=1e-3, atol=1e-5)
    assert changes.max() > 1.5 * max(changes[0], changes[-2])


def test_the_search_stops_where_the_probability_rises_again():
    found = explained(OfFirstPixel(lambda number: 20 * (number - 0.8) ** 2))
    reach = [0.1 * (1.1**steps - 1) for steps in range(40)]
    last = next(k for k in range(1, 40) if abs(reach[k] - 0.2) > abs(reach[k - 1] - 0.2))
    assert 10 < last < 20
    assert found[0, 0].item() == pytest.approx(reach[last], rel=1e-4)


def test_published_setting_stops_where_the_probability_rises_again():
    found = explained(OfFirstPixel(lambda number: 10 * (number - 0.8) ** 2, scale=1024), as_published=True)
    p = sigmoid(0.4)
    gradient = p * (1 - p) * 20 * 0.2 * GAIN  # λ = −20 comes to 0.81, −30 to 0.71
    assert found[0, 0].item() == pytest.approx(30 * gradient * GAIN, rel=1e-3)


def test_an_autoencoder_of_another_size_is_fed_and_read_at_its_own(model, images, autoencoder):
    larger = torch.nn.functional.interpolate(images, (96, 96), mode="bilinear").clamp(-1, 1)
    found = Gifsplanation(model, autoencoder).attribute(larger, 0)
    assert found.shape == (3, 96, 96) and found.max() > 0


def test_resizing_keeps_the_grey_scale():
    flat = torch.full((1, 1, 32, 32), 0.25)
    assert resized(flat, (32, 32)) is flat
    torch.testing.assert_close(resized(flat, (14, 14)), torch.full((1, 1, 14, 14), 0.25))
