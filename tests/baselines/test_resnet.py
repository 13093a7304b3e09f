"""ResNet50 has the published layout, whatever is changed for grey images and few findings."""

import pytest
import torch
from torch import nn

from attrinet.baselines.resnet import ResNet50
from attrinet.errors import AttrinetError
from attrinet.protocols import Classifier, Explainer

NAMES = ["a", "b", "c", "d", "e"]
# depth: published parameters for 3 channels and 1,000 classes, channels of the last map
PUBLISHED = {50: (25_557_032, 2048), 18: (11_689_512, 512)}


def parameters(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("depth", PUBLISHED)
@pytest.mark.parametrize("count", [1, 5])
def test_the_parameters_are_the_published_ones_less_two_input_channels_and_the_other_classes(depth, count):
    total, features = PUBLISHED[depth]
    want = total - 2 * 64 * 7 * 7 - (1000 - count) * (features + 1)
    assert parameters(ResNet50(NAMES[:count], 320, depth=depth)) == want


def test_the_stride_is_in_the_3x3_convolution():
    model = ResNet50(NAMES, 320, width=4)
    for stage in model.stages[1:]:
        assert [conv.stride for conv in stage[0].convs] == [(1, 1), (2, 2), (1, 1)]
        assert stage[0].shortcut[0].stride == (2, 2)
        assert all(conv.stride == (1, 1) for block in stage[1:] for conv in block.convs)


@pytest.mark.parametrize("size,cells", [(320, 10), (224, 7), (160, 5), (128, 8), (64, 8), (32, 4)])
def test_small_images_keep_a_last_map_that_still_says_where(size, cells):
    model = ResNet50(NAMES, size, width=2, depth=18)
    seen = []
    model.gradcam_layer.register_forward_hook(lambda layer, given, out: seen.append(out.shape))
    assert model.logits(torch.zeros(1, 1, size, size)).shape == (1, 5)
    assert seen[0][2:] == (cells, cells)


def test_it_classifies_and_does_not_claim_to_explain():
    model = ResNet50(NAMES, 32, width=2, depth=18)
    assert isinstance(model, Classifier) and not isinstance(model, Explainer)
    assert model.thresholds.tolist() == [0.5] * 5 and model.reader is None and model.finding_index("c") == 2


def test_logits_are_those_of_evaluation_and_leave_the_mode_alone():
    model, x = ResNet50(NAMES, 32, width=2, depth=18).train(), torch.rand(3, 1, 32, 32) * 2 - 1
    before = {k: v.clone() for k, v in model.state_dict().items()}
    logits = model.logits(x)
    assert model.training and not logits.requires_grad
    assert all(v.equal(before[k]) for k, v in model.state_dict().items())
    assert logits.equal(model.eval()(x)) and model(x).requires_grad


def test_training_starts_from_unit_variance_activations():
    torch.manual_seed(0)
    model = ResNet50(NAMES, 64, width=16)
    stds = [conv.weight.std().item() * (conv.weight.shape[0] * conv.weight[0, 0].numel() / 2) ** 0.5
            for conv in model.modules() if isinstance(conv, nn.Conv2d)]
    assert all(0.8 < s < 1.2 for s in stds)  # He initialisation by fan-out: std = sqrt(2 / fan)


@pytest.mark.parametrize("wrong,words", [
    ({"depth": 34}, "depth=34: choose one of 18, 50"), ({"image_size": 16}, "image_size=16"),
    ({"findings": ["a", "a"]}, "different names"),
])
def test_what_cannot_be_built_is_named(wrong, words):
    with pytest.raises(AttrinetError, match=words):
        ResNet50(**{"findings": NAMES, "image_size": 32, "width": 2, "depth": 18} | wrong)
