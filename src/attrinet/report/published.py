"""The numbers of the paper's tables, cited: Sun et al., "Attri-Net", MELBA 2025, https://doi.org/10.59275/j.melba.2025-gb33.

published.csv holds them as printed, one a line with its table and row. half_width is what Tables 7 and 8 print behind
the ±: t-intervals with the standard deviation in place of the standard error, so they tell the spread of images, not
how well the mean is known, and are not to be compared with an interval of ours. In Table 5, "ours (guided)" is the
fully guided model on VinDr-CXR (its mean is that row's of Table 2) and the pseudo-guided one elsewhere.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources

DATASETS = {"chexpert": "CheXpert", "chestxray8": "ChestX-ray8", "vindr": "VinDr-CXR"}
ADAPTERS = {"chexpert": "chexpert", "chestxray8": "chestxray14", "vindr": "vindr"}  # dataset → adapter of its store
PAPER_SIZE = 320  # pixels a side


@dataclass(frozen=True)
class Published:
    """value, half_width: as printed (half_width "" where there is none). source: table and row."""

    value: str
    half_width: str
    source: str


@cache
def numbers() -> dict[tuple[str, str, str, str, str], Published]:
    """(table, dataset, row, measure, finding in lower case) → number."""
    text = resources.files("attrinet.report").joinpath("published.csv").read_text()
    return {
        (r["table"], r["dataset"], r["row"], r["measure"], same_name(r["finding"])):
            Published(r["value"], r["half_width"], r["source"])
        for r in csv.DictReader(text.splitlines())
    }


def published(table: str, dataset: str | None, row: str, measure: str, finding: str) -> Published | None:
    """The number a cell of ours stands beside; None where the paper has none, or dataset is None."""
    return numbers().get((table, dataset or "", row, measure, same_name(finding)))


@cache
def findings(dataset: str | None, measure: str) -> set[str]:
    """The findings, in lower case, that the paper's means of a measure are over: those of Tables 5, 7 and 8."""
    return {name for table, of, _, what, name in numbers()
            if table in ("5", "7", "8") and (of, what) == (dataset, measure)} - {"mean"}


def same_name(finding: str) -> str:
    """Findings by one name, however a dataset spells them: Effusion is Pleural Effusion."""
    lower = finding.lower()
    return "pleural effusion" if lower == "effusion" else lower
