"""attrinet global: what is compared, and what is said of it."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from attrinet.cli import cli
from attrinet.cli.global_ import COMPARED, compared
from attrinet.data.phantom import phantom_source
from attrinet.data.prepare import prepare
from attrinet.data.store import Store
from attrinet.folder import load, save_model
from attrinet.nets.attrinet import AttriNet
from attrinet.train.config import Config, dump_config


class Numbered:
    """Two images of each of `patients` patients, all with the finding; an image is its own row number."""

    def __init__(self, patients):
        self.patients = np.repeat([f"p{k:05d}" for k in range(patients)], 2)
        self.labels = np.ones((2 * patients, 1))
        self.images = np.arange(2 * patients)

    def split(self, name):
        return np.arange(len(self.images))


def test_the_patients_compared_are_drawn_from_all_and_come_once_each():
    store = Numbered(4 * COMPARED)
    rows = compared(store, 0, 1)
    assert len(rows) == COMPARED == len(set(store.patients[rows]))
    assert (np.diff(rows) > 0).all() and abs(rows.mean() - 4 * COMPARED) < 0.1 * 4 * COMPARED
    assert set(rows % 2) == {0, 1}  # nor always a patient's first image
    assert (compared(store, 0, 1) == rows).all()


def test_with_fewer_patients_all_are_compared():
    assert len(compared(Numbered(7), 0, 1)) == 7


HARDLY = "but the model has hardly learned this finding (validation AUC 0.52): train longer before you trust this"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run whose every centre raises an alarm; at the step that was kept, Edema has an AUC of 0.52."""
    monkeypatch.setattr("attrinet.metrics.suspicious_center.ALARM", -2)
    store = prepare(phantom_source(60, 32, seed=3), tmp_path / "store", 32, progress=False)
    config = Config()
    config.data.store = str(store.path)
    model = AttriNet(["Edema", "Cardiomegaly"], 32, width=2, critic=False)
    save_model(model, tmp_path / "run/best", thresholds=dict.fromkeys(model.findings, 0.5),
               preprocessing=store.preprocessing)
    (tmp_path / "run/config.yaml").write_text(dump_config(config))
    (tmp_path / "run/best/training.json").write_text(json.dumps({"step": 20}))
    log = [{"step": 10, "kind": "valid", "auc": {"Edema": 0.9, "Cardiomegaly": 0.5}},
           {"step": 20, "kind": "train"}, {"step": 20, "kind": "valid", "auc": {"Edema": 0.52, "Cardiomegaly": 0.8}}]
    (tmp_path / "run/metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in log))
    return tmp_path / "run"


@pytest.mark.parametrize("named", ["", "best"])
def test_an_alarm_for_a_finding_that_was_hardly_learned_says_so(run, named):
    done = CliRunner().invoke(cli, ["global", str(run / named), "--store", str(run.parent / "store")])
    assert done.exit_code == 0, done.output
    alarms = {line.split(" is strong")[0].split(" of ")[1]: line for line in done.output.splitlines()
              if line.startswith("suspicious:")}
    assert alarms["Edema"].endswith(HARDLY)
    assert alarms["Cardiomegaly"].endswith("Look there in global.png before you trust it")


def test_without_a_log_an_alarm_says_nothing_of_how_well_the_finding_was_learned(run):
    (run / "metrics.jsonl").unlink()
    done = CliRunner().invoke(cli, ["global", str(run)])
    assert done.output.count("Look there in global.png") == 2 and "hardly learned" not in done.output


def test_a_centre_that_is_flat_is_said_not_to_have_been_judged(run):
    model = load(run)
    model.centers.data.zero_()
    save_model(model, run / "best", thresholds=dict.fromkeys(model.findings, 0.5),
               preprocessing=Store.open(run.parent / "store").preprocessing)
    done = CliRunner().invoke(cli, ["global", str(run)])
    assert done.exit_code == 0 and "not judged: Edema, Cardiomegaly (a flat centre" in done.output
    assert "no suspicious centre" not in done.output
    assert json.loads((run / "global/suspicion.json").read_text()) == {}
