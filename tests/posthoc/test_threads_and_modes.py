"""Explanations asked for by a service: from several threads, and where gradients are turned off."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from attrinet.baselines.bcos import BcosResNet50
from attrinet.baselines.resnet import ResNet50
from attrinet.posthoc.build import build

IMAGES = torch.rand(8, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
GRADIENTS = ("gradcam", "guided_backprop", "integrated_gradients")


def explainers():
    torch.manual_seed(0)
    resnet = ResNet50(["Edema", "Mass"], 32, width=4, depth=18).eval()
    bcos = BcosResNet50(["Edema", "Mass"], 32, width=4, depth=18).eval()
    return {name: build(name, resnet) for name in GRADIENTS} | {"bcos": bcos}


@pytest.mark.parametrize("name", [*GRADIENTS, "bcos"])
def test_an_explanation_does_not_depend_on_whether_gradients_are_on(name):
    explainer = explainers()[name]
    want = explainer.attribute(IMAGES, 1)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            made_here = IMAGES.clone()
            got = explainer.attribute(made_here, 1)
        assert got.equal(want) and explainer.attribute(made_here, 1).equal(want)


def test_a_bcos_network_explains_in_inference_mode():
    bcos = explainers()["bcos"]
    want = bcos.explain(IMAGES)
    with torch.inference_mode():
        got = bcos.explain(IMAGES.clone())
    assert got.contributions.equal(want.contributions) and got.logits.equal(want.logits)


@pytest.mark.parametrize("name", ["gradcam", "guided_backprop"])
def test_threads_that_share_an_explainer_get_the_answers_to_their_own_images(name):
    explainer = explainers()[name]
    want = [explainer.attribute(image[None], 0) for image in IMAGES]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda k: explainer.attribute(IMAGES[k % 8][None], 0), range(80)))
    for k, each in enumerate(got):
        torch.testing.assert_close(each, want[k % 8])


def test_a_black_box_says_what_explains_it():
    resnet = ResNet50(["Edema"], 32, width=4, depth=18)
    assert not hasattr(resnet, "explain") and not hasattr(resnet, "global_explanation")
    with pytest.raises(AttributeError, match="ResNet50 has no explanation of its own: .*build.'gradcam', model"):
        resnet.explain(IMAGES)
