"""Images are found wherever links lead, once each."""

from pathlib import Path

import pytest

from attrinet.data import chestxray14, chexpert, vindr
from attrinet.data.table_names import Files
from attrinet.data.walk import folders


@pytest.fixture
def tree(tmp_path):
    """home/ with a folder, links to it and to one elsewhere, and links in a circle."""
    for path in ("home/b/x.png", "home/b/deep/y.png", "disk/z.png"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    for link, goal in (("home/a", "home/b"), ("home/c", "disk"), ("home/b/up", "home"), ("disk/back", "home/b")):
        (tmp_path / link).symlink_to(tmp_path / goal, target_is_directory=True)
    return tmp_path


def test_each_folder_comes_once_by_its_own_path_before_that_of_a_link(tree):
    found = {Path(parent).relative_to(tree).as_posix(): names for parent, names in folders([tree / "home"])}
    assert found == {"home": [], "home/b": ["x.png"], "home/b/deep": ["y.png"], "home/c": ["z.png"]}
    assert len(list(folders([tree / "home", tree / "home" / "b"]))) == 4


def below(path, *names):
    """A folder whose subfolder `path` is a link to a folder elsewhere that holds these names."""
    home, disk = path.parents[1], path.parents[2] / "disk"
    for name in names:
        (disk / name).parent.mkdir(parents=True, exist_ok=True)
        (disk / name).touch()
    path.parent.mkdir(parents=True)
    path.symlink_to(disk, target_is_directory=True)
    return home


def test_every_dataset_finds_images_behind_a_link(tmp_path):
    home = below(tmp_path / "t" / "home" / "sub" / "link", "a.png")
    assert Files(home).find("a.png") == str(home / "sub" / "link" / "a.png")
    home = below(tmp_path / "n" / "home" / "images" / "link", "00000001_000.png")
    assert chestxray14.image_files(home) == {"00000001_000": str(home / "images" / "link" / "00000001_000.png")}
    home = below(tmp_path / "c" / "home" / "train" / "patient00001", "study1/view1_frontal.jpg")
    assert list(chexpert.image_files(home)) == ["patient00001_study1_view1_frontal"]
    home = below(tmp_path / "v" / "home" / "train" / "link", "abc.dicom")
    assert vindr.image_files(home) == {"abc": str(home / "train" / "link" / "abc.dicom")}
