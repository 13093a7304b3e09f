"""`attrinet prepare` has a subcommand for every dataset, and what the documentation tells to type is understood."""

import csv
import os
import re
import shlex
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

from attrinet.cli import cli
from attrinet.cli.prepare import command, names
from attrinet.data.catalog import CATALOG
from attrinet.data.store import Store
from attrinet.errors import AttrinetError
from attrinet.folder import save_model
from attrinet.nets.attrinet import AttriNet
from waiting import until

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
OF_STORES = {"shortcut", "verify"}  # these take a prepared store, not a dataset


def parsed(line):
    """The options that click makes of `attrinet prepare …`; an unknown one is an error."""
    adapter, *arguments = shlex.split(line)[2:]
    return command.commands[adapter].make_context(adapter, arguments).params


def test_every_dataset_has_a_subcommand_an_entry_and_an_example_that_is_understood():
    assert {entry.adapter for entry in CATALOG} == set(command.commands) - OF_STORES
    listed = CliRunner().invoke(cli, ["datasets"]).output
    for entry in CATALOG:
        line = f"attrinet prepare {entry.adapter} {entry.example}"
        assert line in listed and parsed(line)["out"]


@pytest.mark.parametrize("adapter", ["", *command.commands])
def test_the_examples_in_the_help_are_understood(adapter):
    shown = CliRunner().invoke(cli, ["prepare", *adapter.split(), "--help"]).output
    examples = re.findall(r"attrinet prepare .*", shown)
    assert examples and all(parsed(example) for example in examples)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_configuration_trains_on_the_store_that_its_command_makes(path):
    text = re.sub(r"\\\n# *", "", path.read_text())  # a command over two lines
    lines = re.findall(r"^# +(attrinet prepare .*)", text, re.MULTILINE)
    for line in lines:
        assert parsed(line)["out"]
    if lines:  # the last one makes it, of what those before made
        assert str(parsed(lines[-1])["out"]) == yaml.safe_load(text)["data"]["store"]


def test_ctrl_c_stops_with_130_and_one_line(tmp_path):
    line = f"prepare phantom --size 32 --n 3000 --out {tmp_path / 'a'}"
    with subprocess.Popen(
        [sys.executable, "-m", "attrinet", *line.split()],
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:
        until(lambda: process.poll() is not None or list(tmp_path.rglob("done.npy")), "the first image to be read")
        assert process.poll() is None
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        said = process.communicate()[1]
    assert process.returncode == 130 and "Traceback" not in said
    assert said.splitlines()[-1].startswith("attrinet: stopped; ")
    assert not (tmp_path / "a").exists()


def test_a_size_that_cannot_train_is_said_with_the_nearest_that_can(tmp_path):
    line = f"prepare phantom --n 30 --workers 1 --quiet --size 50 --out {tmp_path / 's'}"
    with pytest.warns(UserWarning, match="a store of 50 pixels cannot train Attri-Net, .*: 48 and 52"):
        assert CliRunner().invoke(cli, line.split()).exit_code == 0
    line = f"prepare phantom --n 30 --workers 1 --quiet --size 52 --out {tmp_path / 't'}"
    with warnings.catch_warnings(record=True) as warned:
        CliRunner().invoke(cli, line.split())
    assert not [warning for warning in warned if "pixels" in str(warning.message)]


def test_findings_without_a_positive_to_validate_or_test_on_are_named(tmp_path):
    (tmp_path / "png").mkdir()
    rows = ["image,patient,split,Edema,Mass", "a,1,train,1,1", "b,2,train,0,0", "c,3,valid,0,1", "d,4,valid,0,1"]
    for name in "abcd":
        Image.linear_gradient("L").save(tmp_path / "png" / f"{name}.png")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    command = ["prepare", "table", "--labels", tmp_path / "labels.csv", "--images", tmp_path / "png", "--out",
               tmp_path / "store", "--split-column", "split", "--size", 32, "--workers", 1, "--quiet"]
    with pytest.warns(UserWarning) as warned:
        CliRunner().invoke(cli, list(map(str, command)))
    said = [str(warning.message) for warning in warned]
    assert said == ["valid has no positive Edema: no AUC of that there",
                    "valid has no negative Mass: no AUC of that there"]


def test_called_again_a_finished_store_says_that_unreadable_files_are_not_tried_again(tmp_path):
    (tmp_path / "png").mkdir()
    for name in ("a.png", "b.png"):
        Image.linear_gradient("L").save(tmp_path / "png" / name)
    (tmp_path / "png" / "b.png").write_bytes(b"")
    (tmp_path / "labels.csv").write_text("image,patient,Edema\na.png,1,1\nb.png,2,0\n")
    command = ["prepare", "table", "--labels", tmp_path / "labels.csv", "--images", tmp_path / "png", "--out",
               tmp_path / "store", "--size", 16, "--workers", 1, "--quiet"]
    first, second = (CliRunner().invoke(cli, list(map(str, command))).output for _ in range(2))
    assert f"which, and why: {tmp_path / 'store' / 'excluded.csv'}" in first
    assert "1 unreadable" in first and "not tried again" not in first
    assert "unreadable files are not tried again; for that, delete it" in second


def table_command(tmp_path, header, *more):
    """prepare table of two images, of which the first has all findings."""
    (tmp_path / "png").mkdir(exist_ok=True)
    for name in ("a.png", "b.png"):
        Image.linear_gradient("L").save(tmp_path / "png" / name)
    count = len(next(csv.reader([header])))
    rows = [",".join([*row, *row[1] * count]) for row in (("a.png", "1"), ("b.png", "0"))]
    (tmp_path / "labels.csv").write_text("\n".join([f"image,patient,{header}", *rows]))
    command = ["prepare", "table", "--labels", tmp_path / "labels.csv", "--images", tmp_path / "png", "--out",
               tmp_path / "store", "--size", 16, "--workers", 1, "--quiet", *more]
    return CliRunner().invoke(cli, list(map(str, command)))


@pytest.mark.parametrize("given, want", [
    ("Edema, Mass", ("Edema", "Mass")), (",Edema,\nMass,", ("Edema", "Mass")), ("", ()),
    ('"Mass, left",Edema', ("Mass, left", "Edema")), ('"Mass, left=ones",a=b', ("Mass, left=ones", "a=b")),
    ('Edema, "Mass, left" , "a""b"', ("Edema", "Mass, left", 'a"b')), ('5" film,Edema', ('5" film', "Edema")),
])
def test_names_are_separated_by_commas_outside_of_quotes(given, want):
    assert names(given) == want


def test_findings_with_a_comma_are_named_in_quotes(tmp_path):
    said = table_command(tmp_path, '"Mass, left",Edema,Hernia', "--findings", '"Mass, left",Edema', "--uncertain",
                         '"Mass, left"=ones,Edema=ignore')
    assert said.exit_code == 0, said.output
    store = Store.open(tmp_path / "store")
    assert store.findings == ("Mass, left", "Edema")
    assert store.meta["options"]["uncertain"] == {"Mass, left": "ones", "Edema": "ignore"}
    said = table_command(tmp_path, '"Mass, left",Edema', "--findings", '"Mass, left,Edema')
    assert isinstance(said.exception, AttrinetError) and "a double quote is not closed; write" in str(said.exception)


def test_explain_takes_findings_with_a_comma_in_quotes_too(tmp_path):
    findings = ("Mass, left", "Edema")
    save_model(AttriNet(findings, 32, width=2, critic=False), tmp_path / "m", thresholds=dict.fromkeys(findings, 0.5),
               preprocessing={"intensity": "none", "keep_aspect": False})
    Image.linear_gradient("L").save(tmp_path / "a.png")
    command = ["explain", tmp_path / "m", tmp_path / "a.png", "--format", "npz", "--device", "cpu", "--out", tmp_path]
    said = CliRunner().invoke(cli, [*map(str, command), "--findings", '"Mass, left"'])
    assert said.exit_code == 0 and '"Mass, left": {' in said.output and "Edema" not in said.output


def test_a_finding_called_mean_is_refused_with_the_option_that_calls_it_otherwise(tmp_path):
    said = table_command(tmp_path, "mean,Edema")
    assert isinstance(said.exception, AttrinetError) and "prepare --rename mean=NAME" in str(said.exception)
    assert table_command(tmp_path, "mean,Edema", "--rename", "mean=Mean density").exit_code == 0
    assert Store.open(tmp_path / "store").findings == ("Mean density", "Edema")


def test_findings_are_called_as_a_model_of_other_data_calls_them(tmp_path):
    def prepare(*more):
        command = ["prepare", "phantom", "--n", 20, "--size", 32, "--workers", 1, "--quiet", "--out", *more]
        return CliRunner().invoke(cli, list(map(str, command)))

    prepare(tmp_path / "plain")
    done = prepare(tmp_path / "store", "--rename", "Pleural Effusion=Effusion", "--rename", "Edema=Lung, wet")
    assert done.exit_code == 0, done.output
    plain, store = Store.open(tmp_path / "plain"), Store.open(tmp_path / "store")
    assert store.findings == ("Atelectasis", "Cardiomegaly", "Consolidation", "Lung, wet", "Effusion")
    np.testing.assert_array_equal(store.labels, plain.labels)
    for row in range(20):
        for c in range(5):
            there, want = store.mask(row, c), plain.mask(row, c)
            assert (there is None) == (want is None) and (want is None or (there == want).all())
    assert "20 images" in prepare(tmp_path / "store", "--rename", "Pleural Effusion=Effusion", "--rename",
                                  "Edema=Lung, wet").output
    for wrong, words in ((["Effusion=x"], "'Effusion' is unknown; did you mean 'Pleural Effusion'"),
                         (["Edema=Cardiomegaly"], "'Cardiomegaly' is the name of another"), (["Edema=view"], "'view'"),
                         (["Edema"], "want FINDING=NAME"), (["Edema=a", "Edema=b"], "once a finding")):
        said = prepare(tmp_path / "wrong", *(part for name in wrong for part in ("--rename", name)))
        assert isinstance(said.exception, AttrinetError) and words in str(said.exception)
