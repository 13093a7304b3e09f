"""A file is whole or not there."""

import os

import pytest
import torch
from safetensors.torch import save_file

from attrinet.errors import AttrinetError
from attrinet.files import write_atomically
from attrinet.folder import save_model
from attrinet.nets.attrinet import AttriNet


def test_what_was_there_stays_until_the_new_file_is_whole(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")

    def write(part):
        part.write_text("half")
        assert path.read_text() == "old"
        assert part.suffix == ".csv" and part.name.startswith(".")  # by the ending libraries choose the format
        part.write_text("new")

    write_atomically(path, write)
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_names_it(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")

    def write(part):
        part.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(AttrinetError, match=r"table\.csv: cannot be written \(No space left on device\).*: go on so"):
        write_atomically(path, write, "go on so")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(AttrinetError, match=r"gone/a\.txt: cannot be written \(No such file"):
        write_atomically(tmp_path / "gone" / "a.txt", lambda part: part.write_text(""))


def test_what_a_kill_left_goes_with_the_next_write(tmp_path):
    path = tmp_path / "table.csv"
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, lambda part: [part.write_text("half"), (_ for _ in ()).throw(KeyboardInterrupt)])
    write_atomically(path, lambda part: part.write_text("whole"))
    assert [p.read_text() for p in tmp_path.iterdir()] == ["whole"]


def test_files_of_weights_are_as_readable_as_any_other(tmp_path):
    before = os.umask(0o022)
    try:
        save_model(AttriNet(["a"], 32, width=2), tmp_path / "best", thresholds={"a": 0.5},
                   preprocessing={"intensity": "paper", "keep_aspect": False})
        write_atomically(tmp_path / "weights.safetensors", lambda path: save_file({"a": torch.zeros(1)}, path))
        for path in (tmp_path / "best" / "model.safetensors", tmp_path / "weights.safetensors"):
            assert path.stat().st_mode & 0o777 == 0o644
        os.umask(0o077)
        write_atomically(tmp_path / "mine.safetensors", lambda path: save_file({"a": torch.zeros(1)}, path))
        assert (tmp_path / "mine.safetensors").stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)
    assert not [p for p in tmp_path.rglob("*") if p.name.startswith(".tmp")]
