"""attrinet explain prints and saves what the model says, every finding its own."""

import errno
import json
import os
from hashlib import blake2b

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from attrinet import load
from attrinet.cli import cli
from attrinet.errors import AttrinetError
from radiographs import FINDINGS, save_small_model

ARRAYS = ("probabilities", "logits", "contributions", "attribution", "counterfactual")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A model that calls two of its three findings, and an image."""
    work = tmp_path_factory.mktemp("work")
    save_small_model(work / "model")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)).save(work / "image.png")
    return work


@pytest.fixture(scope="module")
def out(work):
    """What the model says of the image."""
    out = load(work / "model").explain(work / "image.png")
    assert len({round(float(p), 4) for p in out.probabilities[0]}) == 3
    assert out.called[0].tolist() == [True, True, False]
    return out


def explain(work, *arguments):
    done = CliRunner().invoke(cli, ["explain", str(work / "model"), str(work / "image.png"), "--format", "npz",
                                    "--device", "cpu", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout.splitlines()[0])


@pytest.mark.parametrize("arguments, shown", [
    ((), (0, 1, 2)),
    (("--findings", f"{FINDINGS[2]}, {FINDINGS[0]}"), (2, 0)),
    (("--findings", ",".join(FINDINGS[c] for c in (1, 0, 1))), (1, 0)),
])
def test_every_finding_is_printed_with_its_own_probability_and_call(work, out, tmp_path, arguments, shown):
    said = explain(work, "--out", tmp_path, *arguments)
    assert said.pop("image") == str(work / "image.png") and said.pop("name") == "image"
    assert said == {FINDINGS[c]: {"probability": pytest.approx(float(out.probabilities[0, c]), abs=1e-4),
                                  "threshold": pytest.approx(float(out.thresholds[c]), abs=1e-4),
                                  "called": bool(out.called[0, c])} for c in shown}
    assert np.load(tmp_path / "image.npz")["findings"].tolist() == [FINDINGS[c] for c in shown]


def test_the_arrays_are_all_that_the_model_says_of_the_image(work, out, tmp_path):
    explain(work, "--out", tmp_path)
    saved = dict(np.load(tmp_path / "image.npz"))
    assert tuple(saved.pop("findings")) == FINDINGS
    expected = {name: getattr(out, name)[0] for name in ARRAYS} | {"bias": out.bias, "thresholds": out.thresholds}
    assert set(saved) >= set(expected)
    for name, values in expected.items():
        assert saved[name].dtype == np.float32
        np.testing.assert_allclose(saved[name], values.numpy(), atol=1e-6, err_msg=name)


def names_of(*arguments):
    """What the command says its files are called, an image each."""
    done = CliRunner().invoke(cli, ["explain", *map(str, arguments), "--device", "cpu"])
    assert done.exit_code == 0, done.output
    return [json.loads(said)["name"] for said in done.stdout.splitlines()[:-1]]


def hashed(path):
    return blake2b(os.fsencode(path), digest_size=16).hexdigest()


@pytest.fixture
def patients(work, tmp_path):
    """Images of three patients under one name."""
    paths = [tmp_path / f"patient{k}/view1_frontal.png" for k in range(3)]
    for path in paths:
        path.parent.mkdir()
        path.write_bytes((work / "image.png").read_bytes())
    return paths


@pytest.mark.parametrize("kinds", ["png", "npz", "png,npz"])
def test_images_of_one_name_never_overwrite_each_others_results_whichever_command_they_are_given_to(
    work, patients, tmp_path, kinds, monkeypatch
):
    a, b, c = patients
    options = "--format", kinds, "--findings", FINDINGS[0], "--out", tmp_path / "out"
    first, second, third = "view1_frontal", "view1_frontal-2", "view1_frontal-3"
    assert names_of(work / "model", a, b, *options) == [first, second]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    monkeypatch.chdir(c.parent)
    assert names_of(work / "model", c.name, *options) == [third]
    assert all(path.stat().st_mtime_ns == written for path, written in before.items())
    assert names_of(work / "model", b, *options) == [second]  # again
    assert {path.stem for path in (tmp_path / "out").iterdir()} == {first, second, third}
    for path, name in zip(patients, (first, second, third), strict=True):
        if "npz" in kinds:
            assert np.load(tmp_path / f"out/{name}.npz")["image"] == hashed(path)
        if "png" in kinds:
            assert Image.open(tmp_path / f"out/{name}.png").info["image"] == hashed(path)


def test_results_that_do_not_say_what_they_are_of_are_replaced(work, patients, tmp_path):
    (tmp_path / "view1_frontal.npz").write_bytes(b"damaged")
    Image.new("L", (4, 4)).save(tmp_path / "view1_frontal.png")
    assert names_of(work / "model", patients[0], "--format", "npz", "--out", tmp_path) == ["view1_frontal"]


def test_a_path_that_is_no_text_can_be_kept_too(work, tmp_path, monkeypatch):
    folder = tmp_path / os.fsdecode(b"caf\xe9")  # Latin-1
    folder.mkdir()
    (folder / "image.png").write_bytes((work / "image.png").read_bytes())
    monkeypatch.chdir(folder)
    for _ in range(2):
        assert names_of(work / "model", "image.png", "--format", "png,npz", "--out", tmp_path / "out") == ["image"]


@pytest.mark.parametrize("kind, writes", [("npz", "numpy.savez_compressed"), ("png", "pathlib.Path.write_bytes")])
def test_on_a_full_disk_the_file_is_named_and_what_was_there_stays_whole(work, tmp_path, monkeypatch, kind, writes):
    def half(path, *_, **__):
        with open(path, "wb") as file:
            file.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / f"image.{kind}").write_text("of before")
    monkeypatch.setattr(writes, half)
    done = CliRunner().invoke(cli, ["explain", str(work / "model"), str(work / "image.png"), "--format", kind,
                                    "--device", "cpu", "--out", str(tmp_path)])
    assert isinstance(done.exception, AttrinetError)
    assert f"image.{kind}: cannot be written (No space left on device)" in str(done.exception)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [(f"image.{kind}", "of before")]
