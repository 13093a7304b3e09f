"""Every command and Python block of the documentation works: run on tiny phantoms, or parsed (docs/testing.md)."""

import re
import shlex
from pathlib import Path

import click
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from attrinet.cli import cli
from attrinet.data.images import to_uint8
from attrinet.data.phantom import FINDINGS, phantom
from attrinet.train.config import load_config

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# run from the first block to the last; the other pages are parsed
RUN = ("tutorial.md", "howto/own-data.md", "howto/phantoms.md", "howto/shortcut.md", "howto/guidance.md",
       "howto/explainers.md", "howto/share.md")
# what a documented command is given in addition, so that it takes a second
SMALL = {
    "prepare": ["--size", "32", "--workers", "1", "--quiet"],
    "train": ["model.width=2", "schedule.steps=2", "schedule.critic_steps=1", "schedule.classifier_steps=1",
              "schedule.burst=1", "schedule.burst_first=1", "run.validate_every=2", "run.batch_size=2",
              "guidance.per_finding=5", "run.accelerator=cpu", "--quiet"],
    "evaluate": ["--draws", "5", "--grids", "4", "--quiet"],
}


def elsewhere(arguments: list[str]) -> bool:
    """Run by tests/cli/test_end_to_end.py: the demo, and the report of one run."""
    return arguments[0] == "demo" or (arguments[0] == "report" and len(arguments) == 2)


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


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A user's folder: configurations, PNG files, labels and masks, a run to share."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    for name in ("png", "masks"):
        (tmp_path / name).mkdir()
    rows = []
    for k in range(40):
        drawn = phantom(5, k, 32)
        Image.fromarray(to_uint8(drawn.image)).save(tmp_path / "png" / f"{k}.png")
        rows.append({"image": f"{k}.png", "patient": k, **dict(zip(FINDINGS, drawn.labels, strict=True)), "view": "PA"})
        for name, mask in zip(FINDINGS, drawn.masks, strict=True):
            if mask.any():
                Image.fromarray(mask).save(tmp_path / "masks" / f"{k}_{name.replace(' ', '_')}.png")
    pd.DataFrame(rows).to_csv(tmp_path / "labels.csv", index=False)
    return tmp_path


@pytest.mark.parametrize("name", RUN)
def test_the_commands_of_a_page_run_one_after_another(name, work):
    torch.manual_seed(0)
    scope: dict = {}
    for kind, text in blocks(ROOT / "docs" / name):
        if kind == "python":
            exec(compile(text, f"{name}: python block", "exec"), scope)
            continue
        for arguments in commands(text):
            if elsewhere(arguments):
                continue
            small = list(SMALL.get(arguments[0], []))
            if arguments[:2] == ["prepare", "phantom"]:
                small += ["--n", "60"]
            if arguments[:2] in (["prepare", "shortcut"], ["prepare", "verify"]):
                small = ["--quiet"] if arguments[1] == "shortcut" else []
            done = CliRunner().invoke(cli, [*arguments, *small], catch_exceptions=False)
            assert done.exit_code == 0, f"attrinet {' '.join(arguments)}\n{done.output}"
