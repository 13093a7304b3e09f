"""Every command and Python block of the documentation runs, small, on imitations of the data (docs/testing.md)."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner

import imitations
from attrinet.cli import cli
from attrinet.train.config import load_config
from radiographs import radiograph

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# what a documented command is given in addition, so that it takes a second
SMALL = {
    "prepare": ["--size", "32", "--workers", "1", "--quiet"],
    "train": ["model.width=2", "schedule.steps=2", "schedule.critic_steps=1", "schedule.classifier_steps=1",
              "schedule.burst=1", "schedule.burst_first=1", "run.validate_every=2", "run.batch_size=2",
              "guidance.per_finding=5", "run.accelerator=cpu", "--quiet"],
    "evaluate": ["--draws", "5", "--grids", "4", "--quiet"],
}


def elsewhere(arguments: list[str]) -> bool:
    """attrinet demo is run by tests/cli/test_end_to_end.py."""
    return arguments == ["demo"]


def blocks(page: Path) -> list[tuple[str, str]]:
    """("bash" or "python", text) of every fenced block, and of indented ones that hold commands, in order."""
    found = []
    for match in re.finditer(r"^```(\w+)\n(.*?)^```$|((?:^ {4}.*\n)+)", page.read_text(), re.M | re.S):
        if match[1] in ("bash", "python"):
            found.append((match[1], match[2]))
        elif match[3] and not match[1]:
            found.append(("bash", re.sub(r"^ {4}", "", match[3], flags=re.M)))
    return found


def commands(text: str) -> list[list[str]]:
    """The `attrinet …` lines of a block as arguments, comments dropped and continued lines joined."""
    lines = text.replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.strip().startswith("attrinet ")]


def parsed(arguments: list[str], group: click.Group = cli, parent: click.Context | None = None) -> click.Context:
    """The context click makes of a command line; raises click.UsageError for an unknown verb, option or choice."""
    context = click.Context(group, parent, info_name="attrinet" if parent is None else None)
    command = group.get_command(context, arguments[0])
    if command is None:
        raise click.UsageError(f"no command {arguments[0]}", context)
    if isinstance(command, click.Group):
        return parsed(arguments[1:], command, context)
    return command.make_context(arguments[0], arguments[1:], parent=context)


def documented() -> list:
    return [pytest.param(arguments, id=f"{page.name}: {' '.join(arguments)[:70]}")
            for page in PAGES for kind, text in blocks(page) if kind == "bash" for arguments in commands(text)]


@pytest.mark.parametrize("arguments", documented())
def test_every_documented_command_parses_and_names_a_configuration_that_is_there(arguments):
    arguments = [re.sub(r"(?<=[-=/])k\b|^k$", "0", part) for part in arguments]  # "for every seed k" in results.md
    parsed(arguments)
    if arguments[0] == "train":
        config = Path(arguments[1])
        overrides = [part for part in arguments[2:] if "=" in part and not part.startswith("-")]
        load_config(ROOT / config if config.suffix == ".yaml" else None, overrides)


def test_the_parser_of_these_tests_refuses_what_does_not_exist():
    for wrong in (["evaluate", "runs/x", "--quick"], ["judge", "runs/x"], ["prepare", "phantom", "--n", "many"]):
        with pytest.raises(click.UsageError):
            parsed(wrong)


def test_the_demo_which_is_not_run_here_is_run_by_the_tests_of_the_command_line():
    assert '"demo"' in (ROOT / "tests" / "cli" / "test_end_to_end.py").read_text()


# ---- run


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """A folder with stores/mine and runs/mine: tiny, trained, evaluated."""
    folder = tmp_path_factory.mktemp("mine")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "configs").symlink_to(ROOT / "configs")
        run_all("attrinet prepare phantom --out stores/mine\n"
                "attrinet train configs/demo.yaml data.store=stores/mine --out runs/mine\nattrinet evaluate runs/mine")
    return folder


def run_all(text: str, skip=lambda arguments: False) -> None:
    """The commands of a block, made small, one after another."""
    text = re.sub(r"(?<=[-=/])k\b|(?<= )k(?= )", "0", text)  # "for every seed k" in results.md
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip().startswith("python benchmarks/"):
            subprocess.run(["bash", "-c", f"{sys.executable} {ROOT}/{line.strip()[len('python '):]}"], check=True,
                           env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"})
        if line.strip().startswith("cp "):
            subprocess.run(shlex.split(line), check=True)
        for arguments in commands(line):
            if skip(arguments):
                continue
            if arguments[0] == "view":
                serve(arguments)
                continue
            done = CliRunner().invoke(cli, [*arguments, *small(arguments)], catch_exceptions=False)
            assert done.exit_code == 0, f"attrinet {' '.join(arguments)}\n{done.output}"


def small(arguments: list[str]) -> list[str]:
    more = list(SMALL.get(arguments[0], []))
    if arguments[:2] == ["prepare", "phantom"]:
        more += ["--n", "60"]
    if arguments[:2] in (["prepare", "shortcut"], ["prepare", "verify"]):
        more = ["--quiet"] if arguments[1] == "shortcut" else []
    if arguments[0] == "train" and ("resnet" in arguments[1] or "bcos" in arguments[1]):
        more = ["model.width=2", "model.depth=18", "baseline.epochs=1", "run.accelerator=cpu", "--quiet"]
    if arguments[0] == "train" and "densenet" in arguments[1]:
        more = ["baseline.epochs=1", "run.accelerator=cpu", "--quiet"]
    if "--explainer" in arguments:
        more += ["--limit", "4"]  # the last one counts
    if arguments[0] == "train-autoencoder":
        more = ["--steps", "2", "--quiet"]
    if [part for part in arguments if part in ("--valid", "train")] == ["--valid", "train"]:
        more += ["--valid-fraction", "0.3"]
    return more


def serve(arguments: list[str]) -> None:
    """attrinet view, asked once and stopped by Ctrl-C."""
    server = subprocess.Popen([sys.executable, "-m", "attrinet", *arguments, "--port", "0"], stdout=subprocess.PIPE,
                              text=True, env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"})
    try:
        address = server.stdout.readline().split(": ")[1].split()[0]
        assert "<title>attrinet viewer</title>" in urllib.request.urlopen(address, timeout=120).read().decode()
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=60)
    finally:
        server.kill()
    assert server.returncode == 0


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A user's folder: configurations and pictures with their labels and masks."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    imitations.picture_folder(tmp_path, masks=tmp_path / "masks")
    return tmp_path


def with_run(work: Path, mine: Path, *names: str) -> None:
    """Copies of the tiny run, as if the user had trained it before."""
    shutil.copytree(mine / "stores", work / "stores")
    for name in names:
        shutil.copytree(mine / "runs" / "mine", work / "runs" / name)


def before_chexpert(work, mine):
    imitations.chexpert_download(work / "CheXpert-v1.0", work / "CheXlocalize")


def before_compare(work, mine):
    imitations.chexpert_download(work / "CheXpert-v1.0", work / "CheXlocalize")
    run_all("attrinet prepare chexpert CheXpert-v1.0 --chexlocalize CheXlocalize --out stores/chexpert")


def before_dicom(work, mine):
    with_run(work, mine, "mine")
    radiograph(work / "study.dcm")


def before_readme(work, mine):
    imitations.nih_selection(work / "selection")
    for name in ("labels.csv", "boxes.csv"):
        (work / "selection" / name).replace(work / name)
    shutil.copytree(work / "selection" / "images", work / "png", dirs_exist_ok=True)
    shutil.copytree(mine / "runs" / "mine" / "best", work / "runs" / "demo" / "best")
    radiograph(work / "study.dcm")


def before_results(work, mine):
    for name in ("nih_64", "nih_320"):
        imitations.nih_selection(work / name, ("00000181_062.png", "00006997_001.png"))


# what a page takes for granted
BEFORE = {
    "chexpert.md": before_chexpert, "compare.md": before_compare, "dicom.md": before_dicom,
    "chestxray14.md": lambda work, mine: imitations.chestxray14_download(work / "ChestX-ray14"),
    "vindr.md": lambda work, mine: imitations.vindr_download(work / "vindr-cxr"),
    "viewer.md": lambda work, mine: with_run(work, mine, "nih_64"),
    "external.md": lambda work, mine: with_run(work, mine, "mine"),
    "report.md": lambda work, mine: with_run(work, mine, "mine", "one", "two"),
    "README.md": before_readme, "results.md": before_results,
}


LONG = ("README.md", "results.md", "compare.md")  # run by test_docs_long_pages.py, on another core


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page) and page.name not in LONG],
                         ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_run_one_after_another(page, work, mine):
    run_page(page, work, mine)


def run_page(page: Path, work: Path, mine: Path) -> None:
    torch.manual_seed(0)
    BEFORE.get(page.name, lambda work, mine: None)(work, mine)
    scope: dict = {}
    for kind, text in blocks(page):
        if kind == "python":
            exec(compile(text, f"{page.name}: python block", "exec"), scope)
        else:
            run_all(text, elsewhere)
