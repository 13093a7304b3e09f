"""Tables 2 to 8 of the paper, filled from evaluations: rows and columns are the paper's; what was not judged is –."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from attrinet.evaluations import OWN
from attrinet.report.compare_runs import Judged, Method, findings_of, models
from attrinet.report.published import Published, findings, published, same_name

MODELS = {
    "resnet50": "ResNet50", "bcos": "B-cos ResNet50", "bcos-guided": "B-cos ResNet50 (guided)",
    "attrinet": "Attri-Net", "attrinet-mixed": "Attri-Net (pseudo guidance)",
    "attrinet-full": "Attri-Net (full guidance)",
}
CITED = {"stanford": "Stanford baseline (Irvin et al., 2019)", "deepauc": "DeepAUC (Yuan et al., 2021)",
         "lse": "LSE (Ye et al., 2020)", "chestnet": "ChestNet (Ye et al., 2020)"}
EXPLANATIONS = {
    "guided_backprop": "Guided Backprop", "gradcam": "Grad-CAM", "lime": "LIME", "shap": "SHAP",
    "gifsplanation": "Gifsplanation", **{key: name for key, name in MODELS.items() if key != "resnet50"},
}
ABLATION = {"cls": "classification loss", "cls-adv": "+ adversarial", "cls-adv-reg": "+ L1",
            "cls-adv-reg-ctr": "+ centre", "all": "+ guidance"}
GUIDANCE = {"none": "without guidance", "box-only": "box only", "pseudo-box": "pseudo box",
            "pseudo-mask": "pseudo mask", "mixed": "mixed", "mixed-weighted": "mixed weighted mask"}
VARIANTS = (4, 6)  # tables whose rows say how one model was trained
AUC, CLASS, DISEASE, SCALED = "auc", "class_sensitivity", "disease_sensitivity", "disease_sensitivity_scaled"
MEAN = "mean"  # in place of a finding: of all of them
CLASS_INTERVAL = "class_sensitivity_interval"  # where an evaluation has one
MEASURES = {AUC: "AUC", CLASS: "class sensitivity", DISEASE: "disease sensitivity",
            SCALED: "disease sensitivity, maps min–max scaled as in the authors' code"}


@dataclass(frozen=True)
class Reading:
    """value of one run with its 95 % interval over patients, None where an evaluation has none."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Cell:
    """readings: seed → reading, empty where nothing was judged. published: what the paper says, or None."""

    readings: dict[int, Reading]
    published: Published | None = None

    @property
    def mean(self) -> float:
        return sum(r.value for r in self.readings.values()) / len(self.readings)


@dataclass(frozen=True)
class Column:
    measure: str
    finding: str  # or MEAN
    title: str


@dataclass(frozen=True)
class Row:
    """method: None where the runs given have none for this row of the paper."""

    name: str
    method: Method | None
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    number: int
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    missing: tuple[str, ...]  # the paper's rows that no method is for
    notes: tuple[str, ...]


def reading(metrics: dict, measure: str, finding: str) -> Reading | None:
    """A figure of metrics.json; None where it is missing or null."""
    if measure in (DISEASE, SCALED):
        located = metrics.get(DISEASE, {}).get("all", {}).get(finding, {})
        value = located.get("inside" if measure == DISEASE else "inside_published")
    elif measure == CLASS and finding in metrics.get(CLASS_INTERVAL, {}):
        value = metrics[CLASS_INTERVAL][finding]
    else:
        value = metrics.get(measure, {}).get(finding)
    if isinstance(value, dict) and "mean" in value:
        value = value["mean"]
    if isinstance(value, dict):
        return None if value["value"] is None else Reading(value["value"], value["low"], value["high"])
    return None if value is None else Reading(value)


def tables(methods: Sequence[Method], dataset: str | None) -> list[Table]:
    """Tables 2 to 8 of methods judged on the same images. dataset: whose published numbers stand beside ours."""
    whole = [m for m in methods if not m.first.ablated]
    predicted, explained = models(whole), [m for m in whole if m.first.explained]
    attri = [m for m in models(methods) if m.first.kind == "attrinet" and m.first.explainer == OWN]
    mean = {measure: Column(measure, MEAN, title) for measure, title in MEASURES.items()}
    three = (mean[AUC], mean[CLASS], mean[DISEASE])
    each = {m: tuple(Column(m, f, f) for f in findings_of(methods)) for m in (AUC, CLASS, DISEASE)}

    def make(number, title, columns, members, paper, key, extra=True):
        return fill(number, title, columns, members, paper, key, dataset, extra)

    return [
        make(2, "Classification: mean AUC", (mean[AUC],), predicted, CITED | MODELS, lambda e: e.model_row),
        make(3, "Class sensitivity and disease sensitivity", (mean[CLASS], mean[DISEASE], mean[SCALED]), explained,
             EXPLANATIONS, lambda e: e.row),
        make(4, "Ablation of the losses", three, [m for m in attri if in_ablation(m.first)], ABLATION,
             lambda e: e.loss_set or "", False),
        make(5, "Classification: AUC of every finding", (*each[AUC], mean[AUC]), predicted, MODELS,
             lambda e: e.model_row),
        make(6, "Kinds of guidance", (*three, *each[DISEASE]), [m for m in attri if not m.first.ablated], GUIDANCE,
             lambda e: e.model_row if e.unlike_the_paper else e.mode),
        make(7, "Class sensitivity of every finding", each[CLASS], explained, EXPLANATIONS, lambda e: e.row),
        make(8, "Disease sensitivity of every finding", each[DISEASE], explained, EXPLANATIONS, lambda e: e.row),
    ]


def in_ablation(one: Judged) -> bool:
    """Whether Table 4 has a row for it: of the guided ones, the paper's is guided by mode mixed."""
    return one.loss_set is not None and one.mode in ("none", "mixed")


def fill(
    number: int, title: str, columns: Sequence[Column], members: Sequence[Method], paper: dict[str, str],
    key: Callable[[Judged], str], dataset: str | None, extra: bool,
) -> Table:
    """paper: its rows, key → name. key: the row an evaluation belongs to. extra: methods the paper has no row for
    come below; else they are left out."""
    of = {m: key(m.first) for m in members}
    rows, missing = [], []
    for row, name in paper.items():
        own = [m for m in members if of[m] == row]
        cited = {c: cited_for(c, columns, str(number), dataset, row) for c in columns}
        for method in own:
            said = f"{name} ({method.name})" if number in VARIANTS else method.name
            rows.append(Row(said, method, tuple(
                cell(method, c, cited[c] if c.finding != MEAN or is_the_papers(method, c.measure, dataset) else None)
                for c in columns)))
        if not own and (row not in CITED or any(cited.values())):
            rows.append(Row(name, None, tuple(Cell({}, cited[c]) for c in columns)))
            missing += [name] if row not in CITED else []
    if extra:
        rows += [Row(m.name, m, tuple(cell(m, c, None) for c in columns)) for m in members if of[m] not in paper]
    notes = [f"No run given for: {', '.join(missing)}."] if missing else []
    measures = {c.measure for c in columns}
    for column in columns:
        notes += mean_notes(rows, column.measure, dataset) if column.finding == MEAN else []
    if measures != {AUC}:
        notes += limit_notes(rows)
    return Table(number, title, tuple(columns), tuple(rows), tuple(missing), tuple(notes + blank_notes(rows, measures)))


def cited_for(
    column: Column, columns: Sequence[Column], table: str, dataset: str | None, row: str
) -> Published | None:
    """The paper's disease sensitivity is of scaled maps: it stands beside such, where the table has them."""
    measure = column.measure
    if measure == DISEASE and any(c.measure == SCALED for c in columns):
        return None
    return published(table, dataset, row, DISEASE if measure == SCALED else measure, column.finding)


def averaged(one: Judged, measure: str) -> list[str]:
    """The findings that a mean is over: those that have a value."""
    return [f for f in one.findings if reading(one.metrics, measure, f) is not None]


def is_the_papers(method: Method, measure: str, dataset: str | None) -> bool:
    """Whether the mean of every seed is over the findings of the paper's."""
    paper = findings(dataset, DISEASE if measure == SCALED else measure)
    return all({same_name(f) for f in averaged(one, measure)} == paper for one in method.seeds)


def cell(method: Method, column: Column, cited: Published | None) -> Cell:
    found = {one.seed: reading(one.metrics, column.measure, column.finding) for one in method.seeds}
    return Cell({seed: r for seed, r in found.items() if r is not None}, cited)


def limit_notes(rows: Sequence[Row]) -> list[str]:
    """Of a dear explainer only some images are judged; whoever reads a mean must know."""
    limits = {row.name: {one.metrics.get("limit") for one in row.method.seeds} - {None} for row in rows if row.method}
    return [f"{name}: explanations judged on at most {max(own)} images a finding."
            for name, own in limits.items() if own]


def mean_notes(rows: Sequence[Row], measure: str, dataset: str | None) -> list[str]:
    """A mean over other findings is another figure: said where rows differ, or lack a finding of the model or the
    paper."""
    judged = {row.name: row.method for row in rows if row.method and reading_of_any(row.method, measure)}
    over = {name: said_of_seeds({one.seed: ", ".join(averaged(one, measure)) for one in method.seeds})
            for name, method in judged.items()}
    title = MEASURES[measure]
    if len(set(over.values())) > 1:
        return [f"{name}: mean {title} over {names}." for name, names in over.items()]
    whole = all(averaged(one, measure) == one.findings for method in judged.values() for one in method.seeds)
    papers = not dataset or all(is_the_papers(method, measure, dataset) for method in judged.values())
    return [] if whole and papers else [
        f"Mean {title} over {next(iter(over.values()))}"
        + ("." if papers else "; the paper's are over other findings, so none stands beside it.")]


def reading_of_any(method: Method, measure: str) -> bool:
    return any(reading(one.metrics, measure, MEAN) for one in method.seeds)


def said_of_seeds(names: dict[int, str]) -> str:
    """names: seed → what its mean is over."""
    if len(set(names.values())) == 1:
        return next(iter(names.values()))
    return "; ".join(f"{of or 'none'} (seed {seed})" for seed, of in names.items())


def blank_notes(rows: Sequence[Row], measures: set[str]) -> list[str]:
    """Maps without positive evidence have no score; whoever reads a mean must know how many it leaves out."""
    notes = []
    for row in rows:
        seeds = [one.metrics for one in row.method.seeds] if row.method else []
        grids = [g for m in seeds for g in m.get(CLASS, {}).values() if isinstance(g, dict) and "grids" in g]
        located = [m.get(DISEASE, {}) for m in seeds]
        counted = {CLASS: (grids, "grids", "grids"), DISEASE: (located, "annotated", "maps")}
        for measure, (sections, whole, what) in counted.items():
            blank, all_of = (sum(s.get(key) or 0 for s in sections) for key in ("blank", whole))
            if measure in measures and blank:
                notes.append(f"{row.name}: {blank} of {all_of} {what} have no positive evidence and no score (in the "
                             "paper: 0).")
    return notes
