"""Tables as CSV (every seed with its own interval) and as Markdown (what a paper would print)."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from attrinet.model_card import escaped
from attrinet.report.compare_tables import Cell, Table
from attrinet.report.published import DATASETS

HEAD = ("test_set", "row", "measure", "finding", "seed", "value", "low", "high", "low_high_are", "published",
        "published_half_width", "published_source")
OVER_PATIENTS, OVER_SEEDS = "95 % bootstrap interval over patients", "smallest and largest of the seeds"


def write_csv(path: Path, parts: Sequence[tuple[str, Table]], cited: bool) -> None:
    """One line a cell and seed, and one a cell for the mean over seeds. parts: (test set, its table). cited: whether
    there are columns for published numbers."""
    with open(path, "w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(HEAD if cited else HEAD[:-3])
        for test, table in parts:
            for row in table.rows:
                for column, cell in zip(table.columns, row.cells, strict=True):
                    p = cell.published
                    theirs = ((p.value, p.half_width, p.source) if p else ("", "", "")) if cited else ()
                    for line in lines(cell):
                        out.writerow((test, row.name, column.measure, column.finding, *line, *theirs))


def lines(cell: Cell) -> list[tuple]:
    """(seed, value, low, high, what low and high are) of every seed, then of their mean."""
    def text(value):
        return "" if value is None else f"{value:.6g}"

    if not cell.readings:
        return [("", "", "", "", "")]
    out = [(seed, text(r.value), text(r.low), text(r.high), OVER_PATIENTS if r.low is not None else "")
           for seed, r in cell.readings.items()]
    if len(cell.readings) > 1:
        values = [r.value for r in cell.readings.values()]
        out.append(("mean", text(cell.mean), text(min(values)), text(max(values)), OVER_SEEDS))
    return out


def markdown(table: Table, dataset: str | None) -> str:
    """A Markdown table and its notes; published numbers in a column of their own beside ours, if dataset is given."""
    shown = [any(row.cells[k].published for row in table.rows) for k in range(len(table.columns))]
    head = ["Model"]
    for column, with_published in zip(table.columns, shown, strict=True):
        head += [column.title] + (["published"] if with_published else [])
    out = [line(head), line(["---"] * len(head))]
    for row in table.rows:
        cells = [row.name]
        for cell, with_published in zip(row.cells, shown, strict=True):
            cells += [cell_text(cell)] + ([published_text(cell)] if with_published else [])
        out.append(line(cells))
    notes = [*reading_guide(table, dataset, any(shown)), *table.notes]
    return "\n".join([*out, "", *(f"- {escaped(note)}" for note in notes)])


def line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(escaped, cells)) + " |"


def cell_text(cell: Cell) -> str:
    """0.781 [0.770, 0.792] of one run, 0.781 (0.770 … 0.790, 3 seeds) of several."""
    if not cell.readings:
        return "–"
    values = [r.value for r in cell.readings.values()]
    if len(values) > 1:
        return f"{cell.mean:.3f} ({min(values):.3f} … {max(values):.3f}, {len(values)} seeds)"
    (r,) = cell.readings.values()
    return f"{r.value:.3f}" + (f" [{r.low:.3f}, {r.high:.3f}]" if r.low is not None and r.high is not None else "")


def published_text(cell: Cell) -> str:
    if cell.published is None:
        return "–"
    return cell.published.value + (f" ± {cell.published.half_width}" if cell.published.half_width else "")


def reading_guide(table: Table, dataset: str | None, published: bool) -> list[str]:
    guide = ["[low, high]: 95 % interval of one run, bootstrap over patients. (low … high, n seeds): the smallest and "
             "the largest of n runs that differ in the seed, behind their mean."]
    if published:
        guide.append(f"published: Table {table.number} of Sun et al., MELBA 2025, on {DATASETS[dataset]}."
                     + (" Its ± tells the spread of images, not an interval of the mean."
                        if table.number in (7, 8) else "")
                     + (" Its disease sensitivity is of maps scaled from their smallest to their largest value: the "
                        "same as ours where a map is 0 somewhere." if table.number in (4, 6, 8) else ""))
    return guide
