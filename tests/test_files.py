"""A file is whole or not there."""

import pytest

from attrinet.errors import AttrinetError
from attrinet.files import write_atomically


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
