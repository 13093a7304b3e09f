"""attrinet explain prints and saves what the model says, every finding its own."""

import errno
import json
import os

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
    assert said.pop("image") == str(work / "image.png")
    assert said == {FINDINGS[c]: {"probability": pytest.approx(float(out.probabilities[0, c]), abs=1e-4),
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
