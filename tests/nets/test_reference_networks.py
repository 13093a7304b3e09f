"""The authors' weights, loaded here, give the authors' outputs to 1e-4 relative."""

import pytest
import torch

from attrinet.nets.attrinet import AttriNet
from reference import CLASSES


def parameters(module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_paper_settings_have_exactly_the_papers_parameters():
    model = AttriNet(["a", "b", "c", "d", "e"], image_size=320)
    assert parameters(model.generator) == 9_225_504
    assert parameters(model.critic) == 45_610_272
    assert parameters(model.classifiers) == 505
    assert model.centers.numel() == 1_024_000
    assert parameters(model) == 55_860_281
    assert (model.geometry.pool, model.geometry.critic_levels) == (32, 5)


@pytest.mark.parametrize("c", CLASSES)
def test_generator_critic_and_classifier_meet_the_reference(reference, c):
    maps, counterfactual = reference.model.generator(reference.x, c)
    model = reference.model
    got = {
        "attribution": maps,
        "counterfactual": counterfactual,
        "critic_real": model.critic(reference.x, c),
        "critic_fake": model.critic(counterfactual, c),
        "logit": model.classify(maps, c)[:, None],
    }
    for name, value in got.items():
        torch.testing.assert_close(value, reference[f"class{c}/{name}"], rtol=1e-4, atol=1e-5, msg=name.__add__)


def test_findings_mixed_in_one_batch_give_what_they_give_alone(reference):
    model, x = reference.model, reference.x
    mixed, _ = model.generator(x, torch.tensor([0, 3, 3, 1]))
    for i, c in enumerate((0, 3, 3, 1)):
        torch.testing.assert_close(mixed[i : i + 1], model.generator(x[i : i + 1], c)[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.critic(x, torch.tensor([3, 3, 3, 3])), model.critic(x, 3))


def test_every_parameter_of_the_authors_networks_has_its_place(reference):
    from attrinet.nets.authors import network_state

    for prefix, network in (("generator/", reference.model.generator), ("discriminator/", reference.model.critic)):
        renamed = network_state(reference.state(prefix))
        assert renamed.keys() == network.state_dict().keys()
