"""A model card (Mitchell et al., FAT* 2019) filled with what a run knows, and naming what only people can say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from attrinet.facts import Facts
from attrinet.numerals import interval, number

PAPER = "Sun et al., “Attri-Net”, MELBA 2025"
CAN_NOT = (
    "Lesions that are small or turn up anywhere in the image are the method's weak point: class centres and the "
    "masks of guidance average over places",
    "An attribution map shows what the prediction was computed from, not that this is the disease",
)


@dataclass(frozen=True)
class Section:
    """facts: (what, statement). missing: what the card asks for and no run can know."""

    title: str
    facts: tuple[tuple[str, str], ...]
    missing: tuple[str, ...] = ()


def model_card(facts: Facts) -> list[Section]:
    """The nine sections in the order of the paper."""
    return [details(facts), intended_use(facts), factors(facts), metrics(facts), evaluation_data(facts),
            training_data(facts), quantitative(facts), ethics(facts), caveats(facts)]


def details(facts: Facts) -> Section:
    source = facts.metrics.get("provenance", {})
    known = [("Type", f"{facts.kind}; {len(facts.findings)} findings ({', '.join(facts.findings)}); input: one "
                      f"{facts.image_size} × {facts.image_size} grey image; {facts.parameters:,} parameters"),
             ("Paper", PAPER if facts.kind == "Attri-Net" else f"{PAPER}; this model is one that it compares with")]
    if source.get("attrinet"):
        known.append(("Version", f"attrinet {source['attrinet']}, commit {source.get('commit') or 'not recorded'}"))
    if facts.training:
        known.append(("Training", f"{facts.training['step']:,} steps to the kept model, the one with the best mean AUC "
                                  f"on the validation images ({facts.training['best_auc']:.3f}); {supervision(facts)}"))
    return Section("Model details", tuple(known),
                   ("who developed it and when", "licence of the weights", "where to send questions"))


def supervision(facts: Facts) -> str:
    return {"none": "no guidance", "given": "guided by given masks, mode given",
            "shortcut": "guided off a known tag, mode shortcut"}.get(
                facts.guided, f"guided by annotations, mode {facts.guided}")


def intended_use(facts: Facts) -> Section:
    return Section("Intended use", (
        ("Out of scope", "Clinical decisions: research software, and no model that comes out of it has been cleared "
                         "for clinical use"),
    ), ("what it is meant for, and for whom",))


def factors(facts: Facts) -> Section:
    known = (("Projections", pairs(facts.views)),) if facts.views else ()
    return Section("Factors", known, ("age, sex and other groups of patients", "scanners and sites"))


def metrics(facts: Facts) -> Section:
    if not facts.metrics:
        return Section("Metrics", (), ("measured performance: no evaluation was at hand",))
    known = [("Prediction", f"AUC; sensitivity and specificity at thresholds {facts.thresholds}")]
    if "class_sensitivity" in facts.metrics:
        known.append(("Explanation", "class sensitivity (2×2 grids, chance 0.25) and disease sensitivity (share of "
                                     "positive evidence inside the annotated lesion)" + of_rival(facts)
                      + (f", {facts.limited}" if facts.limited else "")))
    known.append(("Uncertainty", f"95 % bootstrap intervals over {facts.units}, {facts.metrics['draws']:,} draws; "
                                 "they do not contain the spread between trainings"))
    return Section("Metrics", tuple(known), ("why these suit the intended use",))


def evaluation_data(facts: Facts) -> Section:
    m = facts.metrics
    if not m:
        return Section("Evaluation data", (), ("evaluation data",))
    where = f", only {' and '.join(m['where'])}" if m.get("where") else ""
    known = [("Images", f"{facts.judged()}: split “{m.get('split', '?')}”{where} of the "
                        f"store with checksum {m.get('store_checksum', 'not recorded')}")]
    return Section("Evaluation data", (*known, *disjoint(facts)), ("whether they stand for the intended patients",))


def training_data(facts: Facts) -> Section:
    counts = facts.store.get("counts")
    if not counts or (facts.config and not facts.own_store):
        trained_on = facts.config.get("data", {}).get("store")
        known = (("Store", f"{trained_on}, which was not at hand"),) if trained_on else ()
        return Section("Training data", known, ("training data: its store was not at hand",))
    known = [("Source", f"adapter “{facts.store['adapter']}”" + (", procedural phantoms" if facts.phantoms else "")),
             ("Images", "; ".join(f"{name}: {c['images']:,}"
                                  + (f" of {c['patients']:,} patients" if facts.names_patients else "")
                                  for name, c in counts.items())),
             ("Preprocessing", preprocessing(facts.store)), ("Left out", left_out(facts.store))]
    missing = () if facts.phantoms else ("how patients came into the data set", "consent and de-identification")
    return Section("Training data", (*known, *disjoint(facts)), missing)


def disjoint(facts: Facts) -> tuple[tuple[str, str], ...]:
    if not facts.names_patients:
        return (("Split", "by image: the data name no patients, so one patient may have images in several splits"),)
    if facts.shared_patients is None:
        return ()
    if facts.shared_patients:
        return (("Split", f"{facts.shared_patients:,} patients have images in more than one split"),)
    return (("Split", "by patient: no patient identifier of the store is in two splits (counted)"),)


def preprocessing(store: Mapping) -> str:
    shape = "padded to a square" if store["keep_aspect"] else "stretched to a square"
    return f"{shape} of {store['size']} pixels a side, grey levels “{store['intensity']}”"


def left_out(store: Mapping) -> str:
    return "; ".join(f"{count:,} {reason}" for reason, count in store["excluded"].items() if count) or "nothing"


def quantitative(facts: Facts) -> Section:
    m = facts.metrics
    if not m:
        return Section("Quantitative analyses", (), ("results: no evaluation was at hand",))
    known = [(f"AUC, {name}", interval(value, 3)) for name, value in m["auc"].items()]
    if "class_sensitivity" in m:
        known.append(("Class sensitivity, mean", number(m["class_sensitivity"]["mean"], 3) + of_rival(facts)))
        inside = m["disease_sensitivity"]["all"].get("mean")
        if inside:
            known.append(("Disease sensitivity, mean", interval(inside["inside"], 3) + of_rival(facts)))
    return Section("Quantitative analyses", tuple(known), ("results within groups of patients",))


def of_rival(facts: Facts) -> str:
    return f"; of {facts.rival}, not of the model's own explanation" if facts.rival else ""


def ethics(facts: Facts) -> Section:
    known = (("Patients", "none: the images were drawn by a program"),) if facts.phantoms else ()
    return Section("Ethical considerations", known, ("risks and harms", "approval by an ethics board"))


def caveats(facts: Facts) -> Section:
    known = [("Limits", text) for text in CAN_NOT]
    known.append(("Limits", f"Calls follow thresholds {facts.thresholds}; another prevalence wants others"))
    if facts.phantoms:
        known.insert(0, ("Phantoms", "the figures show that the method and the installation work; they say nothing "
                                     "about patients"))
    return Section("Caveats and recommendations", tuple(known))


def pairs(values: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {count:,}" for name, count in values.items())


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, where names hold the marks of its tables and of HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def markdown(facts: Facts) -> str:
    """The card as README.md of a model folder, with the front matter that the Hugging Face Hub reads."""
    lines = ["---", "library_name: attrinet", "pipeline_tag: image-classification",
             "tags:", "- radiology", "- explainable-ai", "- multi-label", "---", "", f"# {escaped(facts.title)}", "",
             "```python", "import attrinet", "", 'model = attrinet.from_pretrained("this/folder")',
             'out = model.explain("study.dcm")' if facts.explains_itself
             else 'logits = model.logits(model.reader("study.dcm"))', "```", ""]
    for section in model_card(facts):
        lines += [f"## {section.title}", ""]
        lines += [f"- **{escaped(what)}**: {escaped(text)}" for what, text in section.facts]
        lines += [f"- *Not stated by the run*: {text}" for text in section.missing]
        lines.append("")
    return "\n".join(lines)
