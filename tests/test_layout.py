"""Dependencies point one way (docs/design.md): the core knows nothing of files, the rim is imported by nobody."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import attrinet

SOURCE = Path(__file__).parents[1] / "src" / "attrinet"
RIM = {"cli", "report", "viewer", "export", "demo", "__main__"}
# folder or module → parts of the package it may import
ALLOWED = {
    "errors": set(),
    "protocols": set(),
    "evaluations": set(),
    "losses": set(),
    "guidance": {"errors"},
    "nets": {"nets", "errors"},
    "data": {"data", "files", "processes", "errors"},
    "metrics": {"metrics", "errors", "protocols"},
    "posthoc": {"posthoc", "nets", "files", "resume", "errors", "protocols"},
    "files": {"errors"},
    "processes": {"errors"},
    "resume": set(),
    "modes": set(),
    "provenance": {"__version__"},
    "numerals": set(),
    "facts": {"nets", "errors"},
    "model_card": {"facts", "numerals"},
    "folder": {"baselines", "data", "nets", "files", "errors"},
    "hub": {"baselines", "data", "nets", "files", "folder", "facts", "model_card", "errors"},
    "baselines": {"baselines", "train", "data", "nets", "losses", "guidance", "metrics", "modes", "errors",
                  "protocols"},
    "evaluation": {"evaluation", "data", "metrics", "protocols", "files", "modes", "errors"},
    "report": {"report", "evaluations", "data", "nets", "metrics", "facts", "model_card", "numerals", "files",
               "errors"},
    "train": {"train", "data", "nets", "losses", "guidance", "metrics", "folder", "files", "resume", "errors",
              "protocols"},
}


def part(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Parts of attrinet that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("attrinet"):
            names = [node.module] if "." in node.module else [f"attrinet.{alias.name}" for alias in node.names]
            found |= {name.split(".")[1] for name in names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("attrinet.")}
            assert not any(a.name == "torchvision" for a in node.names), path
    return found


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCE)))
def test_every_file_imports_only_what_its_folder_may(path):
    if part(path) in ALLOWED:
        assert imported(path) <= ALLOWED[part(path)]
    if part(path) not in RIM:
        assert not imported(path) & RIM


def test_baseline_networks_know_nothing_of_their_training():
    for name in ("__init__", "resnet", "bcos"):
        assert imported(SOURCE / "baselines" / f"{name}.py") <= {"baselines", "nets", "modes", "errors"}
        assert "attrinet.baselines.loop" not in (SOURCE / "baselines" / f"{name}.py").read_text()


def test_nets_losses_and_guidance_open_no_file():
    for name in ("nets", "losses.py", "guidance.py"):
        files = (SOURCE / name).rglob("*.py") if (SOURCE / name).is_dir() else [SOURCE / name]
        for path in files:
            calls = [n.func for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
            assert "open" not in {getattr(f, "id", getattr(f, "attr", None)) for f in calls}, path


def test_the_public_names_are_all_there_and_the_command_line_starts_without_torch():
    assert all(getattr(attrinet, name).__name__ == name for name in attrinet.__all__)
    assert set(attrinet.__all__) <= set(dir(attrinet))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        attrinet.nothing  # noqa: B018
    loaded = "import sys, attrinet, attrinet.cli; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True).stdout == "False\n"
