"""The page on mutants says what mutants.json holds, and every survivor has a reason there, not a missing test."""

import json
from pathlib import Path

from scripts_loaded import loaded

ROOT = Path(__file__).parents[2]


def test_the_page_is_that_of_the_data_and_every_survivor_is_explained():
    module = loaded(ROOT / "scripts" / "mutants.py")
    facts = json.loads((ROOT / "docs" / "mutants.json").read_text())
    assert (ROOT / "docs" / "mutants.md").read_text() == module.page(facts)
    assert {each["why"] for each in facts["survivors"]} <= set(module.REASONS) - {"gap"}
    assert len(facts["survivors"]) == sum(facts["counts"].values()) - facts["counts"]["killed"]


def test_what_was_changed_stands_in_the_source():
    """A change of losses, guidance or metrics makes the data old: run scripts/mutants.sh again."""
    facts = json.loads((ROOT / "docs" / "mutants.json").read_text())
    for each in facts["survivors"]:
        module = each["function"].split(".")
        path = ROOT.joinpath("src", "attrinet", *module[: 2 if module[0] == "metrics" else 1]).with_suffix(".py")
        source = path.read_text()
        for line in each["change"]:
            assert line[0] == "+" or line[1:].strip() in source, f"{each['function']}: {line}"
