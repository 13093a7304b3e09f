"""index.md of `attrinet compare`: what was made, of which runs, and what would be needed for the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from attrinet.model_card import escaped
from attrinet.report.compare_pairs import GUIDE
from attrinet.report.compare_runs import Judged, Method, Test
from attrinet.report.compare_tables import Table
from attrinet.report.compare_write import line
from attrinet.report.published import DATASETS, PAPER_SIZE


@dataclass
class Made:
    """figures: (number, title, test set, files, caption). missing: (what, why, in words that say what is needed)."""

    figures: list[tuple[int, str, str, list[str], str]] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)


def index(
    tests: Mapping[Test, str], parts: Mapping[Test, Sequence[Method]], tables: Sequence[Table], made: Made,
    dataset: str | None, sizes: Mapping[Test, int | None], lines: int, own_split: Sequence[str] = (),
) -> str:
    """tests: test set → its name. tables: of all of them. sizes: pixels a side, where known. own_split: names of test
    sets that are not the dataset's official one."""
    evaluations = [(tests[t], m, one) for t, methods in parts.items() for m in methods for one in m.seeds]
    text = ["# Comparison", "", *published_note(dataset, sizes, own_split), "", "## Tables", ""]
    text += [f"- Table {t.number}, {t.title}: [Markdown](tables/table{t.number}.md), [CSV](tables/table{t.number}.csv)"
             for t in {t.number: t for t in tables}.values()]
    text += ["", f"All pairs of methods: [comparisons.csv](comparisons.csv), {lines} lines. {GUIDE}", ""]
    text += ["## Figures", ""]
    for number, title, test, files, caption in made.figures:
        links = ", ".join(f"[{name.rsplit('.', 1)[1].upper()}](figures/{name})" for name in files)
        text += [f"- Figure {number}, {title} ({escaped(test)}): {links}. {escaped(caption)}"]
    text += ["", "## Not made", ""]
    text += [f"- {what}: {escaped(why)}" for what, why in made.missing] or ["Nothing is missing."]
    text += ["", "## Runs", "", line(("test set", "method", "seed", "run", "evaluation", "commit", "store checksum",
                                      "images", "patients")), line(["---"] * 9)]
    text += [run_line(*item) for item in evaluations]
    text += ["", "## Settings other than the paper's", ""]
    return "\n".join([*text, *settings(evaluations), ""])


def published_note(dataset: str | None, sizes: Mapping[Test, int | None], own_split: Sequence[str]) -> list[str]:
    if dataset is None:
        return ["Without --dataset: no published number stands here, as they are of other images."]
    other = sorted({size for size in sizes.values() if size not in (None, PAPER_SIZE)})
    out = [f"Published numbers: Sun et al., MELBA 2025, on {DATASETS[dataset]}; they stand beside evaluations of whole "
           "test splits."]
    if own_split:
        names = escaped(", ".join(own_split))
        out += ["", f"Not the official test images, on which the published numbers are: {names}."]
    if other:
        out += ["", f"The paper's images have {PAPER_SIZE} pixels a side, these {', '.join(map(str, other))}: the "
                    "published numbers are of another task."]
    if None in sizes.values():
        out += ["", f"A store could not be opened: that it is of {DATASETS[dataset]} is taken from --dataset."]
    return out


def run_line(test: str, method: Method, one: Judged) -> str:
    commit = one.metrics.get("provenance", {}).get("commit") or "–"
    sample = f" (explained: {one.metrics['limit']} a finding)" if one.metrics.get("limit") else ""
    patients = str(one.metrics["patients"]) if one.metrics.get("patients_named", True) else "not named"
    return line((test, method.name, str(one.seed), str(one.run), one.folder.name, commit,
                 one.metrics["store_checksum"], f"{one.metrics['images']}{sample}", patients))


def settings(evaluations: Sequence[tuple[str, Method, Judged]]) -> list[str]:
    """A line a run folder with the options that are not the paper's defaults."""
    runs = {one.run: one for _, _, one in evaluations}
    return [escaped(f"- {run}: " + (", ".join(f"{k}={v}" for k, v in one.unusual.items()) or "none"))
            for run, one in runs.items()]
