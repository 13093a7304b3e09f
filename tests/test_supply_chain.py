"""Every dependency is pinned and hashed, nothing runs code from a user's file, and the package builds and installs."""

import ast
import os
import pickle
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from attrinet.authors_checkpoint import import_checkpoint
from attrinet.data.store import Store
from attrinet.errors import AttrinetError
from attrinet.folder import load
from attrinet.train.config import load_config
from attrinet.train.guide import read_mask

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "src" / "attrinet").rglob("*.py"))


def pins(path):
    """Name → version of a requirements file."""
    found = re.findall(r"^([\w.-]+)==([\w.+]+)", path.read_text(), re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


# ---- what is installed


@pytest.mark.parametrize("name", ["locked.txt", "locked-dev.txt"])
def test_every_locked_package_has_hashes_and_is_the_tested_version(name):
    text = (ROOT / "requirements" / name).read_text()
    tested = pins(ROOT / "requirements" / "constraints.txt")
    for package, version in pins(ROOT / "requirements" / name).items():
        assert tested.get(package) == version, f"{package}: run scripts/lock.sh after a change of constraints.txt"
    blocks = re.split(r"\n(?=[a-zA-Z])", text)[1:]
    assert all("--hash=sha256:" in block for block in blocks) and len(blocks) > 30


def test_the_whole_tested_set_is_locked_but_for_what_depends_on_the_machine():
    tested, locked = (pins(ROOT / "requirements" / name) for name in ("constraints.txt", "locked-dev.txt"))
    assert set(tested) - set(locked) <= {"torch", "uv"}, "run scripts/lock.sh"


def test_no_file_names_a_package_index():
    for path in [*(ROOT / "requirements").iterdir(), ROOT / "pyproject.toml", *(ROOT / "scripts").iterdir()]:
        assert not re.search(r"--(extra-)?index-url|--find-links|https?://", path.read_text()), path


# ---- what is never done with a user's file


def calls(path):
    """Dotted names of everything a file calls, with the keywords given."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}


def test_no_code_is_made_of_data():
    for path in FILES:
        for name, keywords in calls(path):
            assert name not in ("eval", "exec", "compile", "__import__", "os.system", "os.popen"), (path, name)
            assert keywords.get("shell") != "True", (path, name)
            if name.split(".")[0] in ("pickle", "cPickle", "dill", "joblib", "marshal", "shelve"):
                raise AssertionError((path, name))
            if name.startswith("yaml.") and "load" in name:
                assert name == "yaml.safe_load", (path, name)
            if name == "torch.load":
                assert keywords.get("weights_only") == "True", (path, name)
            if name == "np.load":
                assert keywords.get("allow_pickle", "False") == "False", (path, name)  # NumPy's own default
            if name in ("pd.read_pickle", "np.frombuffer", "torch.jit.load"):
                assert name == "np.frombuffer", (path, name)


class Bomb:
    """Makes a file where it is unpickled."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return os.mkdir, (self.mark,)


def test_what_runs_code_when_it_is_unpickled_does_not_run(tmp_path):
    mark = tmp_path / "ran"
    np.save(tmp_path / "mask.npy", np.array([Bomb(mark)], dtype=object), allow_pickle=True)
    (tmp_path / "theirs").mkdir()
    torch.save({"weight": Bomb(mark)}, tmp_path / "theirs" / "net_g_best.pth")
    (tmp_path / "run.yaml").write_text(f"run: !!python/object/apply:os.mkdir ['{mark}']\n")
    (tmp_path / "env.yaml").write_text("run: {seed: '${oc.env:HOME}'}\n")
    model = tmp_path / "model"
    model.mkdir()
    for name in ("config.json", "thresholds.json"):
        (model / name).write_text("{}")
    (model / "model.safetensors").write_bytes(pickle.dumps(Bomb(mark)))
    store = tmp_path / "store"
    store.mkdir()
    (store / "meta.json").write_bytes(pickle.dumps(Bomb(mark)))
    attempts = [
        lambda: read_mask(tmp_path / "mask.npy", 8), lambda: import_checkpoint(tmp_path / "theirs", ["a"], 32),
        lambda: load_config(tmp_path / "run.yaml"), lambda: load_config(tmp_path / "env.yaml"), lambda: load(model),
        lambda: Store.open(store), lambda: load_config(None, [f"run.seed=!!python/object/apply:os.mkdir ['{mark}']"]),
    ]
    for attempt in attempts:
        with pytest.raises(AttrinetError):
            attempt()
    assert not mark.exists()
    with pytest.raises(yaml.YAMLError):
        yaml.safe_load((tmp_path / "run.yaml").read_text())
    pickle.loads(pickle.dumps(Bomb(mark)))  # the bomb is a bomb
    assert mark.exists()


def test_weights_travel_as_safetensors_only():
    writers = {name for path in FILES for name, _ in calls(path) if name in ("torch.save", "pickle.dump")}
    assert not writers and save_file is not None


# ---- what is released


def test_wheel_and_sdist_build_and_what_the_sdist_gives_works_in_an_empty_environment(tmp_path):
    """Made and installed by pip from the sdist alone; only the dependencies are borrowed, after the installation."""
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

    def python(*arguments, cwd=ROOT, program=sys.executable):
        done = subprocess.run([program, *map(str, arguments)], cwd=cwd, env=clean | {"OMP_NUM_THREADS": "1"},
                              capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout

    build = "import sys; from hatchling.build import build_sdist, build_wheel; build_sdist(sys.argv[1]); " \
            "build_wheel(sys.argv[1])"
    python("-c", build, tmp_path)
    (wheel,), (sdist,) = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    names = zipfile.ZipFile(wheel).namelist()
    assert "attrinet/py.typed" in names and "attrinet/configs/demo.yaml" in names
    assert {f"attrinet/{path.relative_to(ROOT / 'src' / 'attrinet')}" for path in FILES} <= set(names)
    assert not [name for name in names if name.startswith("tests")]

    pip = ("-m", "pip", "--disable-pip-version-check", "-q")
    python(*pip, "wheel", "--no-deps", "--no-index", "--no-build-isolation", sdist, "-w", tmp_path / "made",
           cwd=tmp_path)
    (made,) = (tmp_path / "made").glob("*.whl")
    assert contents(made) == contents(wheel)

    venv.create(tmp_path / "empty", with_pip=False)
    inside = tmp_path / "empty" / "bin" / "python"
    python(*pip, "--python", inside, "install", "--no-deps", "--no-index", made, cwd=tmp_path)
    (site,) = (tmp_path / "empty" / "lib").glob("python*/site-packages")
    (site / "borrowed.pth").write_text("\n".join(p for p in sys.path if p.endswith("site-packages")))
    script = "import attrinet; from attrinet.demo import config_file; print(attrinet.__file__); print(config_file())"
    for path in python("-c", script, cwd=tmp_path, program=inside).splitlines():
        assert path.startswith(str(site))
    assert "0.1.0" in python("--version", cwd=tmp_path, program=tmp_path / "empty" / "bin" / "attrinet")


def contents(wheel):
    """Name → checksum of all that is installed, but for the list of checksums itself."""
    return {i.filename: i.CRC for i in zipfile.ZipFile(wheel).infolist() if not i.filename.endswith("RECORD")}
