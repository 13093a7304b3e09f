"""LIME beside its authors' own package."""

import numpy as np
import pytest
import torch

from attrinet.posthoc.lime import Lime, ridge_weights, superpixels
from planted import HORIZONTAL, window


def test_weights_are_those_of_the_authors_regression():
    lime_base = pytest.importorskip("lime.lime_base")
    random = np.random.default_rng(0)
    shown = random.integers(0, 2, (200, 12))
    shown[0], shown[1] = 1, 0
    probability = random.random(200)
    norms = np.linalg.norm(shown, axis=1) * np.sqrt(12)
    distance = 1 - np.divide(shown.sum(1), norms, out=np.zeros(200), where=norms > 0)
    authors = lime_base.LimeBase(lambda d: np.sqrt(np.exp(-(d**2) / 0.25**2)))
    _, found, _, _ = authors.explain_instance_with_data(shown, probability[:, None], distance, 0, 100000)
    expected = np.array([weight for _, weight in sorted(found)])
    np.testing.assert_allclose(ridge_weights(shown.astype(bool), probability), expected, rtol=1e-9)


def test_maps_agree_with_the_authors_package(model, images):
    lime_image = pytest.importorskip("lime.lime_image")

    def classify(pictures):  # (n, H, W, 3) in [0, 1] → (n, C)
        x = torch.from_numpy(pictures[..., 0]).float()[:, None] * 2 - 1
        with torch.no_grad():
            return model(x).sigmoid().numpy()

    picture = np.repeat((images[0, 0].numpy()[..., None] + 1) / 2, 3, 2)
    segments = superpixels(images[0, 0].numpy())
    explanation = lime_image.LimeImageExplainer(random_state=0).explain_instance(
        picture, classify, labels=(0,), top_labels=None, hide_color=0.5, num_samples=2000,
        segmentation_fn=lambda _: segments,
    )
    weight = dict(explanation.local_exp[0])
    theirs = np.array([weight[k] for k in range(len(weight))])
    ours = Lime(model, samples=2000).attribute(images[:1], 0)[0].numpy()
    ours = np.array([ours[segments == k][0] for k in range(len(weight))])
    assert np.corrcoef(ours, theirs)[0, 1] > 0.99
    np.testing.assert_allclose(ours, theirs, atol=0.03)  # sampling noise; the largest is near 0.5


def test_the_superpixels_of_the_evidence_have_the_largest_weight(model, images):
    found = Lime(model, samples=1000).attribute(images[:1], 0)[0]
    assert window(0)[divmod(found.argmax().item(), 64)]
    assert found[HORIZONTAL].mean() > 5 * found[~window(0)].abs().mean()


@pytest.mark.parametrize("size", [64, 128, 299])
def test_the_number_of_superpixels_hardly_depends_on_the_size(size):
    random = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    image = torch.nn.functional.interpolate(random, (size, size), mode="bicubic").clamp(-1, 1)[0, 0].numpy()
    segments = superpixels(image)
    assert segments.shape == (size, size) and set(np.unique(segments)) == set(range(segments.max() + 1))
    assert 20 < segments.max() + 1 < 150


def test_published_setting_mixes_findings_by_softmax_and_marks_superpixels_by_one(model, images):
    before = Lime(model, as_published=True).attribute(images[:1], 0)
    assert set(before.unique().tolist()) == {0.0, 1.0}
    with torch.no_grad():
        model.head.weight[1] *= -3
    assert not torch.equal(before, Lime(model, as_published=True).attribute(images[:1], 0))


@pytest.mark.parametrize("positive, marked", [(60, 50), (30, 30)])
def test_published_setting_marks_at_most_50_superpixels_those_of_largest_positive_weight(
    model, images, monkeypatch, positive, marked
):
    segments = superpixels(images[0, 0].numpy())
    count = segments.max() + 1
    weight = np.random.default_rng(0).permutation(count) - (count - positive) + 0.5
    monkeypatch.setattr("attrinet.posthoc.lime.ridge_weights", lambda shown, probabilities: weight)
    found = Lime(model, as_published=True).attribute(images[:1], 0)[0].numpy()
    strongest = np.argsort(weight)[-marked:]
    np.testing.assert_array_equal(found, np.isin(segments, strongest))


@pytest.mark.parametrize("as_published", [False, True])
def test_all_findings_at_once_are_those_of_one_at_a_time_for_the_predictions_of_one(model, images, as_published):
    seen = []
    model.register_forward_hook(lambda module, given, out: seen.append(len(out)))
    lime = Lime(model, samples=200, as_published=as_published)
    together = lime.attribute_all(images[:2])
    assert sum(seen) == 2 * lime.cost
    one_by_one = torch.stack([lime.attribute(images[:2], c) for c in range(len(model.findings))], 1)
    assert torch.equal(together, one_by_one) and together.any(3).any(2).all()
