"""attrinet train goes on with the run that is named, whichever way it is."""

import pytest
from click.testing import CliRunner

from attrinet.cli import cli
from attrinet.train import loop
from attrinet.train.config import Config, dump_config


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """trained(arguments) → the folder that training goes on in; a run and a configuration lie in the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/mine/checkpoints").mkdir(parents=True)
    for name in ("runs/mine/config.yaml", "config.yaml"):
        (tmp_path / name).write_text(dump_config(Config()))
    asked = []
    monkeypatch.setattr(loop, "train", lambda config, out, **how: asked.append(out))

    def call(*arguments):
        done = CliRunner().invoke(cli, ["train", *arguments])
        assert done.exit_code == 0, done.output
        return str(asked[-1].resolve().relative_to(tmp_path))

    return call


@pytest.mark.parametrize("run", ["runs/mine", "runs/mine/config.yaml"])
def test_a_run_is_resumed_by_its_folder_or_by_the_configuration_in_it(trained, run):
    assert trained(run, "--resume") == "runs/mine"
    assert trained(run, "--resume", "--out", "runs/other") == "runs/other"


def test_a_configuration_outside_a_run_or_of_one_begun_anew_names_its_own_folder(trained):
    assert trained("config.yaml", "--resume") == "runs/config"
    assert trained("runs/mine/config.yaml") == "runs/config"


def test_from_inside_its_folder_a_run_is_resumed_too(trained, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path / "runs/mine")
    assert trained("config.yaml", "--resume") == "runs/mine"
