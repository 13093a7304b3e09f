"""Configuration: the paper by default, typed, complete, and clear about mistakes."""

from pathlib import Path

import pytest

from attrinet.errors import AttrinetError
from attrinet.train.config import Config, dump_config, load_config

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


def test_defaults_are_the_papers_settings():
    c = load_config(None)
    assert (c.losses.adversarial, c.losses.classification, c.losses.l1, c.losses.center, c.losses.guidance) == (
        1, 100, 100, 0.01, 30,
    )
    assert (c.losses.l1_negative, c.losses.l1_positive, c.losses.gradient_penalty) == (2, 1, 10)
    assert (c.schedule.steps, c.schedule.critic_steps, c.schedule.classifier_steps) == (100_000, 5, 5)
    assert (c.run.batch_size, c.run.validate_every, c.optimizer.lr, c.optimizer.center_lr) == (4, 1000, 1e-4, 0.1)


def test_a_misspelt_option_is_an_error_in_python_too():
    with pytest.raises(AttributeError, match="prcision"):
        Config().run.prcision = "bf16"


def test_what_is_dumped_loads_to_the_same(tmp_path):
    config = load_config(None, ["schedule.steps=7", "data.findings=[a,b]", "model.pool=8", "losses.l1=0"])
    (tmp_path / "c.yaml").write_text(dump_config(config))
    assert load_config(tmp_path / "c.yaml") == config
    assert config.data.findings == ["a", "b"] and config != Config()


@pytest.mark.parametrize(
    "override, words",
    [
        ("schedule.step=3", "'schedule.steps'"),
        ("losses.centre=1", "'losses.center'"),
        ("batch_size=3", "'run.batch_size'"),
        ("model.image_size=64", "prepare … --size"),
        ("schedule.steps=many", "schedule.steps=many"),
        ("schedule.steps=0", "1 or more"),
        ("losses.l1=-1", "negative"),
        ("run.precision=fp64", "fp32, bf16"),
        ("losses.l1_norm=max", "mean, sum"),
        ("data.contrast=[1.4,0.8]", "from and to"),
        ("data.brightness=[0.8,.inf]", "from and to"),
        ("run.seed=4294967296", "at most 4294967295"),
        ("run.devices=3", "batch_size=4"),
        ("steps", "key=value"),
    ],
)
def test_a_wrong_option_is_named_with_what_to_do(override, words):
    with pytest.raises(AttrinetError, match=words):
        load_config(None, [override])


def test_a_run_in_which_the_generator_would_learn_nothing_is_refused():
    nothing = [f"losses.{name}=0" for name in ("adversarial", "classification", "l1", "center")]
    with pytest.raises(AttrinetError, match="losses: every weight is 0"):
        load_config(None, nothing)
    load_config(None, [*nothing, "guidance.mode=mixed"])


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(AttrinetError, match="none.yaml"):
        load_config(tmp_path / "none.yaml")
    for text in ("a: [", "- 1\n- 2", "model: 3", "!!python/object/apply:os.system ['true']"):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(AttrinetError, match="bad.yaml"):
            load_config(tmp_path / "bad.yaml")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_configuration_of_the_repository_loads(path):
    load_config(path)


def test_the_ablation_of_table_4_is_five_configurations():
    names = ("cls", "cls_adv", "cls_adv_reg", "cls_adv_reg_ctr", "all")
    on = []
    for name in names:
        losses = load_config(next(p for p in CONFIGS if p.stem == f"ablation_{name}")).losses
        on.append([bool(getattr(losses, k)) for k in ("classification", "adversarial", "l1", "center", "guidance")])
    assert on == [[i <= k for i in range(5)] for k in range(5)]
