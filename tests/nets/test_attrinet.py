"""The explanation is the decision: identities of the model, and what it says to wrong input."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from attrinet.data.images import read_image
from attrinet.errors import AttrinetError
from attrinet.nets.attrinet import AttriNet
from attrinet.nets.generator import OUTPUTS
from attrinet.protocols import Classifier, Explainer


def tiny(findings=2, size=32, **options) -> AttriNet:
    torch.manual_seed(0)
    return AttriNet([f"f{i}" for i in range(findings)], size, width=4, **options).eval()


@settings(max_examples=25, deadline=None)
@given(
    findings=st.integers(1, 4), size=st.sampled_from([32, 36, 48, 64, 96]), batch=st.integers(1, 3),
    gain=st.floats(0.1, 300), seed=st.integers(0, 1000), output=st.sampled_from(OUTPUTS),
)
def test_bias_plus_contributions_is_the_logit(findings, size, batch, gain, seed, output):
    model = tiny(findings, size, output=output)
    torch.manual_seed(seed)
    with torch.no_grad():
        for classifier in model.classifiers:
            classifier.weight.normal_(std=gain / size)
            classifier.bias.normal_()
    x = torch.rand(batch, 1, size, size) * 2 - 1
    out = model.explain(x)
    summed = out.contributions.double().sum((2, 3)) + out.bias
    torch.testing.assert_close(summed.float(), out.logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(out.counterfactual, x + out.attribution, rtol=0, atol=1e-6)
    assert torch.equal(out.logits, model.logits(x))
    assert torch.equal(out.evidence, out.contributions.clamp(min=0))
    assert out.attribution.shape == out.contributions.shape == (batch, findings, size, size)


def test_explanation_follows_eq_4_written_out():
    model, x = tiny(), torch.rand(1, 1, 32, 32)
    maps, _ = model.generator(x, 1)
    pool, grid = model.geometry.pool, model.geometry.grid
    weight, bias = model.classifiers[1].weight[0], model.classifiers[1].bias
    logit = bias.item()
    for i in range(grid):
        for j in range(grid):
            cell = maps[0, 0, i * pool : (i + 1) * pool, j * pool : (j + 1) * pool]
            logit += weight[i * grid + j].item() * cell.mean().item()
    assert model.logits(x)[0, 1].item() == pytest.approx(logit, abs=1e-5)


def test_grouping_of_findings_changes_no_result():
    model, x = tiny(5), torch.rand(2, 1, 32, 32) * 2 - 1
    one = model.explain(x).attribution
    for group in (2, 3, 5):
        model.findings_per_pass = group
        torch.testing.assert_close(model.explain(x).attribution, one, rtol=1e-4, atol=1e-5)


def test_a_large_batch_goes_in_parts_that_the_cache_copes_with_and_changes_no_result(monkeypatch):
    model, x = tiny(2), torch.rand(5, 1, 32, 32) * 2 - 1
    whole, one = model.explain(x), model.attribute(x, 1)
    seen = []
    model.generator.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    monkeypatch.setattr("attrinet.nets.attrinet.CACHED", 2 * model.width * 32**2)
    parts = model.explain(x)
    torch.testing.assert_close(parts.attribution, whole.attribution, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(parts.counterfactual, whole.counterfactual, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.attribute(x, 1), one, rtol=1e-4, atol=1e-5)
    assert seen == [2, 2, 2, 2, 1, 1, 2, 2, 1]


def test_attri_net_meets_both_protocols_and_they_agree():
    model, x = tiny(), torch.rand(2, 1, 32, 32) * 2 - 1
    assert isinstance(model, Classifier) and isinstance(model, Explainer)
    torch.testing.assert_close(model.attribute(x, 1), model.explain(x).contributions[:, 1])


def test_global_explanation_has_centres_and_weights():
    model = tiny(3)
    g = model.global_explanation()
    assert g.positive_center.shape == g.negative_center.shape == (3, 32, 32)
    assert g.weights.shape == (3, 16, 16)
    torch.testing.assert_close(g.positive_center[2], model.centers[2, 1])
    torch.testing.assert_close(g.weights[1].flatten(), model.classifiers[1].weight[0])


def test_the_same_image_in_every_accepted_form_gives_the_same_answer():
    model = tiny()
    grey = np.arange(1024, dtype=np.uint8).reshape(32, 32)
    scaled = grey / 127.5 - 1
    forms = [grey, scaled, scaled.astype(np.float32)[None], torch.from_numpy(scaled)[None, None], [grey], [scaled]]
    want = model.explain(forms[0]).logits
    for form in forms:
        torch.testing.assert_close(model.explain(form).logits, want, rtol=1e-5, atol=1e-5)
    assert model.explain([grey, scaled]).logits.shape == (2, 2)


@pytest.mark.parametrize(
    "image, words",
    [
        (np.zeros((32, 32, 3), np.uint8), "grey"),
        (torch.zeros(1, 3, 32, 32), "grey"),
        (torch.zeros(2, 32, 32), "axes"),
        (torch.zeros(1, 1, 64, 64), "64×64.*size=32"),
        (torch.zeros(1, 1, 32, 16), "16×32"),
        (torch.full((1, 1, 32, 32), 255.0), r"\[-1, 1\]"),
        (torch.full((1, 1, 32, 32), float("nan")), "NaN"),
        (np.zeros((32, 32), np.uint16), "uint16"),
        (torch.zeros(32, 32, dtype=torch.int64), "int64"),
        (np.array([["a"]]), "dtype"),
        ([], "empty"),
        (torch.zeros(0, 1, 32, 32), "empty"),
        (None, "NoneType"),
        ("study.dcm", "read_image"),
    ],
)
def test_wrong_images_are_refused_in_words_that_help(image, words):
    with pytest.raises(AttrinetError, match=words):
        tiny().explain(image)


def test_images_in_zero_to_one_are_answered_with_a_warning():
    with pytest.warns(UserWarning, match="2·x"):
        tiny().explain(torch.rand(1, 1, 32, 32))


def test_an_image_of_one_grey_level_is_answered_with_a_warning(tmp_path):
    Image.new("L", (40, 40), 7).save(tmp_path / "black.png")
    model = tiny()
    model.reader = partial(read_image, size=32)
    with pytest.warns(UserWarning, match="black.png: an image of one grey level"):
        model.explain(tmp_path / "black.png")
    with pytest.warns(UserWarning, match="^an image of one grey level"):
        model.explain(torch.zeros(1, 1, 32, 32))
    with pytest.raises(AttrinetError, match="64×64.*pass the path of the file itself"):
        model.explain(torch.zeros(1, 1, 64, 64))


def test_unknown_findings_name_the_nearest():
    model = AttriNet(["Edema", "Effusion"], 32, width=2, critic=False)
    assert model.finding_index("Effusion") == 1
    with pytest.raises(AttrinetError, match="'Edema'"):
        model.finding_index("edem")
    with pytest.raises(AttrinetError, match="finding 7: want a name, or an index below 2, of"):
        model.finding_index(7)


def test_a_finding_may_be_a_number_of_numpys():
    model, x = tiny(), torch.zeros(1, 1, 32, 32)
    torch.testing.assert_close(model.attribute(x, np.int64(1)), model.attribute(x, 1), rtol=0, atol=0)


@pytest.mark.parametrize("finding", [0.5, True, [0], -1, 2, None])
def test_what_is_no_finding_is_refused_in_words(finding):
    with pytest.raises(AttrinetError, match="want a name, or an index below 2, of f0, f1"):
        tiny().attribute(torch.zeros(1, 1, 32, 32), finding)


@pytest.mark.parametrize("dtype", [">f4", "<f4", ">f8", "longdouble", "f2"])
def test_numbers_in_any_order_of_bytes_are_the_same_image(dtype):
    x = np.linspace(-1, 1, 32 * 32).reshape(32, 32)
    torch.testing.assert_close(tiny().explain(x.astype(dtype)).logits, tiny().explain(x).logits, rtol=0, atol=0.01)


@pytest.mark.filterwarnings("error")
def test_an_array_that_is_read_only_is_an_image_like_any_other():
    x = np.tile(np.arange(32, dtype=np.uint8), (32, 1))
    x.flags.writeable = False
    assert tiny().explain(x).logits.equal(tiny().explain(x.copy()).logits)


@pytest.mark.parametrize("findings", [[], ["a", "a"], "abc", [0, 1], ["a", ""]])
def test_findings_without_or_with_repeated_names_are_refused(findings):
    with pytest.raises(AttrinetError, match="names"):
        AttriNet(findings, 32)


def test_tuning_picks_a_grouping_and_changes_no_number():
    model = AttriNet(["a", "b", "c"], 32, width=4)
    x = torch.rand(2, 1, 32, 32) * 2 - 1
    before = model.logits(x)
    assert model.tune(x, repeats=1) in (1, 3) and model.findings_per_pass in (1, 3)
    for group in (1, 2, 3):
        model.findings_per_pass = group
        torch.testing.assert_close(model.logits(x), before, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("asked, meant", [("edema", "Edema"), ("MASS", "Mass"), ("Edma", "Edema")])
def test_a_finding_in_other_letters_is_named(asked, meant):
    model = AttriNet(["Mass", "Edema"], 32, width=2, critic=False)
    with pytest.raises(AttrinetError, match=f"unknown finding '{asked}'; did you mean '{meant}'"):
        model.finding_index(asked)
