"""Where Quantus has the same metric, it says the same."""

import numpy as np
import pytest
import torch
from torch import nn

from attrinet.metrics.deletion import GREY, deleted, ranks
from attrinet.metrics.disease_sensitivity import disease_sensitivity
from attrinet.metrics.pointing_game import pointing_game

# an ImportError: its OpenCV wants libGL, which a machine without a display may lack
quantus = pytest.importorskip("quantus", exc_type=ImportError)

COUNT, SIZE = 6, 10
QUIET = {"disable_warnings": True, "display_progressbar": False, "abs": False, "normalise": False}


@pytest.fixture(scope="module")
def batch():
    """Images, positive maps without ties, masks (B, 1, H, W), and a classifier of two classes."""
    random = np.random.default_rng(0)
    images = random.uniform(0.1, 1, (COUNT, 1, SIZE, SIZE)).astype(np.float32)
    maps = random.permutation(COUNT * SIZE**2).reshape(COUNT, 1, SIZE, SIZE).astype(np.float32) + 1
    masks = np.zeros((COUNT, 1, SIZE, SIZE), bool)
    masks[:, :, 2:7, 1:8] = True
    torch.manual_seed(0)
    return images, maps, masks, nn.Sequential(nn.Flatten(), nn.Linear(SIZE**2, 2)).eval()


def ask(metric, batch):
    images, maps, masks, model = batch
    return np.array(metric(model=model, x_batch=images, y_batch=np.ones(COUNT, int), a_batch=maps,
                           s_batch=masks.astype(int), softmax=True))


def test_disease_sensitivity_is_relevance_mass_accuracy(batch):
    _, maps, masks, _ = batch
    np.testing.assert_allclose(disease_sensitivity(maps[:, 0], masks[:, 0]).inside,
                               ask(quantus.RelevanceMassAccuracy(**QUIET), batch), rtol=1e-6)


def test_hits_are_those_of_its_pointing_game(batch):
    _, maps, masks, _ = batch
    hits = pointing_game(maps[:, 0], masks[:, 0])
    assert 0 < hits.sum() < COUNT
    np.testing.assert_array_equal(hits, ask(quantus.PointingGame(**QUIET), batch).astype(float))


def test_the_deletion_curve_is_that_of_its_pixel_flipping(batch):
    images, maps, _, model = batch
    shares = tuple(np.arange(1, 11) / 10)
    want = ask(quantus.PixelFlipping(features_in_step=SIZE**2 // 10, perturb_baseline=GREY, **QUIET), batch)
    random = np.random.default_rng(0)
    for image, map, curve in zip(images[:, 0], maps[:, 0], want, strict=True):
        frames = torch.from_numpy(deleted(image, ranks(map, random), shares))[:, None]
        np.testing.assert_allclose(model(frames).softmax(1)[:, 1].detach().numpy(), curve, rtol=1e-5)
