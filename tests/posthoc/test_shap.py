"""SHAP: completeness, the exact Owen values of a model that is small enough, and nothing left behind."""

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter
from torch import nn

from attrinet.errors import AttrinetError
from attrinet.posthoc.shap import BLUR, Shap, blurred


def test_maps_sum_to_the_logit_above_the_blurred_image(model, images):
    for as_published, share in ((False, BLUR), (True, 1.0)):
        found = Shap(model, evaluations=200, as_published=as_published).attribute(images[:1], 0)
        background = torch.from_numpy(blurred(images[0, 0].numpy(), share))[None, None]
        with torch.no_grad():
            rise = (model(images[:1]) - model(background))[0, 0]
        torch.testing.assert_close(found.sum(), rise, rtol=0, atol=1e-3)


def test_values_of_a_linear_model_are_weight_times_distance_from_the_background():
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 2)).eval()
    model.findings = ("a", "b")
    x = torch.rand(1, 1, 6, 6) * 2 - 1
    background = torch.from_numpy(uniform_filter(x[0, 0].numpy(), round(BLUR * 6), mode="mirror"))
    expected = model[1].weight[1].detach().view(6, 6) * (x[0, 0] - background)
    found = Shap(model, evaluations=3000).attribute(x, 1)[0]  # enough to split every part
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("evaluations", [2, 101])
def test_a_number_of_evaluations_that_shap_would_not_keep_to_is_refused(model, evaluations):
    with pytest.raises(AttrinetError, match="even number"):
        Shap(model, evaluations=evaluations)


def test_the_global_random_numbers_are_left_as_they_were(model, images):
    np.random.seed(5)
    expected = np.random.random()
    np.random.seed(5)
    Shap(model, evaluations=50).attribute(images[:1], 0)
    assert np.random.random() == expected
