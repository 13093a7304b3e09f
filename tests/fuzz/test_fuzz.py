"""Hostile files and values are taken or refused by name: a short campaign (campaign.py runs the long one)."""

import json
import tempfile
import warnings
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from fuzz_targets import BOXES, TARGETS, tables
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attrinet.cli import cli
from attrinet.data.phantom import phantom_source
from attrinet.data.prepare import prepare
from attrinet.data.store import Store
from attrinet.data.table import table_source
from attrinet.errors import AttrinetError
from attrinet.folder import load, save_model
from attrinet.nets.attrinet import AttriNet
from attrinet.train.config import load_config

INPUTS = {"image": 150, "dicom": 100, "manifest": 100, "annotations": 100, "store": 100, "model": 100, "weights": 150,
          "config": 60, "command": 60}


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_is_answered_by_anything_but_the_package_s_own_error(name):
    target = TARGETS[name]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seeds = target.prepare(Path(folder))

        @settings(max_examples=INPUTS[name], deadline=None, database=None, derandomize=True,
                  suppress_health_check=list(HealthCheck))
        @given(st.randoms(use_true_random=False))
        def attack(random):
            target.attack(Path(folder), seeds, random)

        attack()


# ---- what campaigns found


@pytest.fixture
def user(tmp_path):
    tables(tmp_path)
    return tmp_path


@pytest.mark.parametrize("size", ["inf", "\x010", "1e999", "0", "-5", "2.5", "99999999999999999999"])
def test_a_size_that_no_original_has_is_refused_by_line(user, size):
    (user / "boxes.csv").write_text(BOXES.replace("100,100", f"100,{size}"))
    with pytest.raises(AttrinetError, match=r"boxes\.csv: line 3: source_height is"):
        table_source(user / "labels.csv", user / "png", boxes=user / "boxes.csv")


@pytest.mark.parametrize("key,value", [("width", 10**30), ("image_size", 10**30), ("width", float("inf")),
                                       ("pool", float("inf")), ("width", "8"), ("critic_levels", -1)])
def test_a_model_folder_of_absurd_sizes_is_refused_by_name(tmp_path, key, value):
    save_model(AttriNet(["Edema"], 32, width=2, critic=False), tmp_path / "m", thresholds={"Edema": 0.5},
               preprocessing={"intensity": "none", "keep_aspect": False})
    load(tmp_path / "m")
    config = json.loads((tmp_path / "m/config.json").read_text())
    (tmp_path / "m/config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(AttrinetError, match=r"m: not a usable model folder|m/config\.json: (image|pool|critic)"):
        load(tmp_path / "m")


def test_a_threshold_that_no_number_holds_is_refused_by_name(tmp_path):
    save_model(AttriNet(["Edema"], 32, width=2, critic=False), tmp_path, thresholds={"Edema": 0.5},
               preprocessing={"intensity": "none", "keep_aspect": False})
    (tmp_path / "thresholds.json").write_text(json.dumps({"Edema": 10**400}))
    with pytest.raises(AttrinetError, match="thresholds.json: thresholds Edema=10{73}: want a probability, 0 to 1"):
        load(tmp_path)


def test_a_row_without_an_image_name_is_left_out_and_counted(user):
    frame = pd.read_csv(user / "labels.csv")
    frame.loc[1, "image"] = None
    frame.to_csv(user / "labels.csv", index=False)
    assert table_source(user / "labels.csv", user / "png").excluded["no image name"] == 1


@pytest.mark.parametrize("find, put, what", [("1,train", ",train", "line 2: column 'patient'"), ("Edema", "id", "'id'"),
                                             ("PA,1,0", "PA,perhaps,0", "'perhaps'")])
def test_what_is_wrong_with_a_table_is_said_with_its_file(user, find, put, what):
    path = user / "labels.csv"
    path.write_text(path.read_text().replace(find, put, 1))
    findings = ("id" if put == "id" else "Edema", "Effusion")
    with pytest.raises(AttrinetError, match=rf"labels\.csv: .*{what}"):
        table_source(path, user / "png", findings=findings)


def test_a_store_whose_tables_no_reader_understands_is_damaged_not_a_traceback(tmp_path):
    store = prepare(phantom_source(4, 32), tmp_path / "s", 32, progress=False).path
    whole = (store / "manifest.parquet").read_bytes()
    (store / "manifest.parquet").write_bytes(whole.replace(b"Effusion", b"Eff(\xffion"))
    with pytest.raises(AttrinetError, match="damaged"):
        _ = Store.open(store).manifest


def test_a_configuration_that_contains_itself_is_refused(tmp_path):
    (tmp_path / "loop.yaml").write_text("data:\n  contrast: &a [*a, *a]\n")
    with pytest.raises(AttrinetError, match=r"loop\.yaml"):
        load_config(tmp_path / "loop.yaml")


def test_a_path_longer_than_any_file_system_has_is_one_line(tmp_path):
    done = CliRunner().invoke(cli, ["prepare", "chestxray14", "x" * 300, "--out", str(tmp_path / "s")])
    assert isinstance(done.exception, AttrinetError) and "xxx" in str(done.exception)


def test_one_flipped_bit_of_a_weight_is_noticed(tmp_path):
    save_model(AttriNet(["a"], 32, width=1, critic=False), tmp_path, thresholds={"a": 0.5},
               preprocessing={"intensity": "paper", "keep_aspect": False})
    path = tmp_path / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    with pytest.raises(AttrinetError, match=r"model\.safetensors: damaged \(its checksum"):
        load(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["weights"]  # as earlier versions wrote it
    (tmp_path / "config.json").write_text(json.dumps(config))
    load(tmp_path)


@pytest.mark.parametrize("change", [{"findings": ["a", "a"]}, {"findings": []}, {"image_size": 3222}, {"pool": 3}])
def test_a_model_folder_whose_numbers_do_not_fit_is_named(tmp_path, change):
    save_model(AttriNet(["a", "b"], 32, width=1, critic=False), tmp_path / "m", thresholds={"a": 0.4, "b": 0.5},
               preprocessing={"intensity": "paper", "keep_aspect": False})
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    (tmp_path / "m" / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(AttrinetError, match=r"m/config\.json: "):
        load(tmp_path / "m")


@pytest.mark.parametrize(("override", "message"), [
    (".x=1", r"\.x=1: "), ("=", "=: "), (f"losses.l1=1{'0' * 400}", "losses.l1=1"),
    ("guidance.counts.Edema=[1,2]", "guidance.counts"),
])
def test_an_override_that_no_reader_expects_is_refused_by_name(override, message):
    with pytest.raises(AttrinetError, match=message):
        load_config(None, [override])
