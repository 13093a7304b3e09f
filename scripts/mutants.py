"""Mutation testing of losses, guidance and metrics: which changes of a line does no test notice, and why is that?

    scripts/mutants.sh                # makes the mutants, tests them (minutes on one core), writes docs/mutants.json
    python scripts/mutants.py page    # docs/mutants.md anew, after reasons were filled in by hand

A reason that is in docs/mutants.json stays with its mutant: the same change of the same function.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
DATA, PAGE = ROOT / "docs" / "mutants.json", ROOT / "docs" / "mutants.md"
REASONS = {
    "equal": "The changed line computes the same (NumPy may warn once more). No result tells the two apart.",
    "rounding": "The results differ by rounding alone, or in a case that floating-point numbers do not reach.",
    "wording": "The text of an error differs. Tests look for what it names, not for its every word.",
    "default": "A default value differs that every caller in the package gives by itself.",
    "speed": "The same result by another way or data type, slower or larger.",
    "gap": "A test is missing.",
}
HEAD = """# What the tests do not notice

`scripts/mutants.sh` changes losses, guidance and metrics one line at a time (mutmut 3) and runs their tests on each
change. A change that no test notices is either no change of what the code does, or a test is missing. This page is
written by `scripts/mutants.py page` from [mutants.json](mutants.json), where somebody gave the reason of each.
"""


def survivors() -> tuple[Counter, list[dict]]:
    counts, found = Counter(), []
    for line in mutmut("results", "--all", "true").splitlines():
        name, _, status = line.strip().rpartition(": ")
        if not name:
            continue
        counts[status] += 1
        if status != "killed":
            found.append({"function": function(name), "status": status, "change": change(mutmut("show", name))})
    return counts, found


def mutmut(*arguments: str) -> str:
    command = [sys.executable, "-m", "mutmut", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def function(name: str) -> str:
    """attrinet.metrics.auc.x_auc__mutmut_3 → metrics.auc.auc"""
    return name.split("__mutmut_")[0].removeprefix("attrinet.").replace(".x_", ".").replace("xǁ", "").replace("ǁ", ".")


def change(shown: str) -> list[str]:
    lines = shown.splitlines()
    return [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]


def key(each: dict) -> tuple:
    return each["function"], *each["change"]


def write(counts: Counter, found: list[dict]) -> None:
    before = {key(e): e["why"] for e in json.loads(DATA.read_text())["survivors"]} if DATA.exists() else {}
    for each in found:
        each["why"] = before.get(key(each), "gap")  # until somebody says why
    commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, cwd=ROOT)
    facts = {"commit": commit.stdout.strip(), "counts": dict(sorted(counts.items())), "survivors": found}
    DATA.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n")


def page(facts: dict) -> str:
    out = [HEAD]
    counts = facts["counts"]
    out.append(f"Commit {facts['commit']}: {sum(counts.values())} mutants, "
               f"{', '.join(f'{n} {status}' for status, n in counts.items())}.\n")
    for reason, text in REASONS.items():
        mine = [each for each in facts["survivors"] if each["why"] == reason]
        if mine:
            out.append(f"## {reason.capitalize()}: {len(mine)}\n\n{text}\n")
            for name in sorted({each["function"] for each in mine}):
                changes = "\n\n".join("\n".join(each["change"]) for each in mine if each["function"] == name)
                out.append(f"`{name}`\n\n```diff\n{changes}\n```\n")
    return "\n".join(out)


def main() -> None:
    if sys.argv[1:] == ["collect"]:
        write(*survivors())
    elif sys.argv[1:] != ["page"]:
        raise SystemExit(__doc__)
    PAGE.write_text(page(json.loads(DATA.read_text())))


if __name__ == "__main__":
    main()
