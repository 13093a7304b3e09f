"""The two ways to make a map of the generator's last convolution, and that a model keeps its own."""

import json

import pytest
import torch

from attrinet import AttrinetError, load, save_model
from attrinet.export.graph import Graph
from attrinet.nets.attrinet import AttriNet
from attrinet.nets.generator import OUTPUTS, Generator

IMAGES = torch.linspace(-1, 1, 32 * 32).view(1, 1, 32, 32)


def tiny(output):
    torch.manual_seed(0)
    return AttriNet(["Edema", "Mass"], 32, width=4, output=output).eval()


def saved(model, folder):
    save_model(model, folder, thresholds=dict.fromkeys(model.findings, 0.5),
               preprocessing={"intensity": "paper", "keep_aspect": False})
    return folder


@torch.no_grad()
def test_where_the_network_says_nothing_the_map_is_zero_or_a_picture_of_the_image():
    maps = {}
    for output in OUTPUTS:
        generator = Generator(2, 4, 1, output)
        generator.last.weight.zero_()
        maps[output], changed = generator(IMAGES, 1)
        torch.testing.assert_close(changed, IMAGES + maps[output], rtol=0, atol=1e-7)
    assert maps["difference"].abs().max() == 0
    assert maps["tanh"].abs().max().item() == pytest.approx(1 - torch.tensor(1.0).tanh().item())
    torch.testing.assert_close(maps["tanh"], IMAGES.tanh() - IMAGES)


@torch.no_grad()
@pytest.mark.parametrize("output, reach", [("tanh", 1.0), ("difference", 1.2385)])
def test_no_counterfactual_leaves_its_range(output, reach):
    generator = Generator(2, 4, 1, output)
    for sign in (-100, 100):
        generator.last.weight.fill_(sign)
        changed = generator(IMAGES, 0)[1]
        assert changed.abs().max() <= reach
    with pytest.raises(AttrinetError, match="output='relu': choose one of tanh, difference"):
        AttriNet(["Edema"], 32, output="relu")


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_model_keeps_its_output_in_its_folder_and_in_an_export(output, tmp_path):
    model = tiny(output)
    again = load(saved(model, tmp_path / "m"))
    assert again.generator.output == output
    assert again.explain(IMAGES).attribution.equal(model.explain(IMAGES).attribution)
    torch.testing.assert_close(Graph(model)(IMAGES)[2], model.explain(IMAGES).attribution, rtol=0, atol=5e-5)
    assert not tiny("tanh").explain(IMAGES).attribution.allclose(tiny("difference").explain(IMAGES).attribution)


def test_a_folder_of_before_there_was_a_choice_has_the_papers(tmp_path):
    saved(tiny("tanh"), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["output"]
    (tmp_path / "config.json").write_text(json.dumps(config | {"format": 1}))
    assert load(tmp_path).generator.output == "tanh"
    (tmp_path / "config.json").write_text(json.dumps(config | {"format": 3}))
    with pytest.raises(AttrinetError, match="format 3 .* update attrinet"):
        load(tmp_path)


def test_a_finding_whose_last_hidden_layer_is_silent_can_come_back_with_the_difference_alone():
    for output, alive in (("tanh", False), ("difference", True)):
        generator = Generator(2, 4, 1, output)
        generator.up2.norm.style.bias.data[4:] = -100  # far below 0 in every channel
        generator(IMAGES, 0)[0].sum().backward()
        assert bool(generator.up2.norm.style.bias.grad.any()) == alive
