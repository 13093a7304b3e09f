"""A run is judged and shown on images like those it was trained on, and on its own store only as that was then."""

import json
import shutil

import pytest
from click.testing import CliRunner

from attrinet.cli import cli
from attrinet.cli.run_folder import open_run
from attrinet.data.phantom import phantom_source
from attrinet.data.prepare import prepare
from attrinet.errors import AttrinetError
from attrinet.folder import save_model
from attrinet.nets.attrinet import AttriNet
from attrinet.train.config import Config, dump_config

FINDINGS = ("Cardiomegaly", "Edema")


@pytest.fixture
def run(tmp_path):
    """A run folder as training leaves it, of the store `mine`."""
    store = prepare(phantom_source(40, 32, seed=1), tmp_path / "mine", 32, progress=False)
    best = tmp_path / "run" / "best"
    save_model(AttriNet(FINDINGS, 32, width=2), best, thresholds=dict.fromkeys(FINDINGS, 0.5),
               preprocessing=store.preprocessing)
    (best / "training.json").write_text(json.dumps({"data": store.identity}))
    config = Config()
    config.data.store = str(store.path)
    (tmp_path / "run" / "config.yaml").write_text(dump_config(config))
    return tmp_path / "run"


def again(path, seed, **options):
    shutil.rmtree(path, ignore_errors=True)
    prepare(phantom_source(40, 32, seed=seed), path, 32, progress=False, **options)


def test_a_run_s_own_store_made_again_of_the_same_is_taken(run, tmp_path):
    again(tmp_path / "mine", 1)
    assert open_run(run, "cpu").store(None).findings == FINDINGS


def test_a_run_s_own_store_made_again_with_other_splits_is_not_taken_unless_it_is_named(run, tmp_path):
    again(tmp_path / "mine", 2)
    with pytest.raises(AttrinetError, match=r"mine: is not the store that .*run was trained on.*--store"):
        open_run(run, "cpu").store(None)
    refused = CliRunner().invoke(cli, ["evaluate", str(run), "--device", "cpu", "--quiet"])
    assert refused.exit_code and not (run / "evaluation").exists()
    assert open_run(run, "cpu").store(tmp_path / "mine").findings == FINDINGS


def test_a_run_of_an_earlier_version_does_not_say_what_it_was_trained_on_and_goes_on(run, tmp_path):
    (run / "best" / "training.json").write_text(json.dumps({"step": 3}))
    again(tmp_path / "mine", 2)
    assert len(open_run(run, "cpu").store(None)) == 40


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("options, there", [
    ({"intensity": "minmax"}, "--intensity minmax without --keep-aspect"),
    ({"keep_aspect": True}, "--intensity paper and --keep-aspect"),
])
def test_a_store_prepared_otherwise_than_the_model_s_images_is_refused(run, tmp_path, options, there, named):
    again(tmp_path / "mine", 1, **options)
    with pytest.raises(AttrinetError, match=f"mine: was prepared with {there}, the model's images with "
                                            "--intensity paper without --keep-aspect; prepare a store with"):
        open_run(run, "cpu").store(tmp_path / "mine" if named else None)
