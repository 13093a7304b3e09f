"""The items of CLAIM 2024 that a run can answer by itself, and those left to its authors.

Tejani et al., Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update, Radiology: Artificial
Intelligence 2024; 6(4): e240300. The wording of the items is shortened.
"""

from __future__ import annotations

from dataclasses import dataclass

from attrinet.facts import Facts
from attrinet.model_card import left_out, pairs, preprocessing, supervision
from attrinet.numerals import interval

ITEMS = {
    1: "Identified as a study of AI, with the technology", 2: "Summary of design, methods, results, conclusions",
    3: "Background, intended use and role of the AI", 4: "Aims, objectives and hypotheses",
    5: "Prospective or retrospective", 6: "Study goal", 7: "Data sources", 8: "Inclusion and exclusion criteria",
    9: "Data pre-processing", 10: "Selection of data subsets", 11: "De-identification", 12: "Handling of missing data",
    13: "Image acquisition protocol", 14: "How the reference standard was obtained",
    15: "Rationale for the reference standard", 16: "Source of reference standard annotations",
    17: "Annotation of the test set", 18: "Inter- and intra-rater variability", 19: "Assignment to partitions",
    20: "Level at which partitions are disjoint", 21: "Intended sample size", 22: "Detailed description of the model",
    23: "Software libraries, frameworks, packages", 24: "Initialisation of parameters",
    25: "Details of the training approach", 26: "Selection of the final model", 27: "Ensembling",
    28: "Metrics of performance", 29: "Measures of significance and uncertainty",
    30: "Robustness or sensitivity analysis", 31: "Methods for explainability", 32: "Evaluation on internal data",
    33: "Testing on external data", 34: "Clinical trial registration",
    35: "Patients or examinations included and excluded", 36: "Demographic and clinical characteristics by partition",
    37: "Performance with statistical uncertainty", 38: "Estimates of diagnostic performance and their precision",
    39: "Failure analysis of incorrect results", 40: "Limitations", 41: "Implications for practice",
    42: "Study protocol or technical details", 43: "Availability of software, model and data", 44: "Funding",
}


@dataclass(frozen=True)
class Answer:
    """source: the file or section of the report it comes from."""

    number: int
    item: str
    text: str
    source: str


def claim(facts: Facts) -> tuple[list[Answer], list[tuple[int, str]]]:
    """Answers in the order of the checklist, and (number, item) of every item the run cannot answer."""
    found = {**data_items(facts), **model_items(facts), **result_items(facts)}
    answers = [Answer(number, ITEMS[number], *found[number]) for number in sorted(found)]
    return answers, [(number, item) for number, item in ITEMS.items() if number not in found]


def data_items(facts: Facts) -> dict[int, tuple[str, str]]:
    """Items about the store, where the model was trained and judged on it."""
    store = facts.store
    if not store or not facts.own_store:
        return {}
    counts = store["counts"]
    unknown = sum(c["unknown"] for split in counts.values() for c in split["findings"].values())
    out = {
        7: (f"adapter “{store['adapter']}”, {store['images']:,} images, checksum {store['checksum']}", "meta.json"),
        8: (f"as chosen when the data were prepared (options in the data card); left out: {left_out(store)}",
            "meta.json"),
        9: (preprocessing(store), "meta.json"),
        12: (f"{unknown:,} unknown labels, each left out of its finding's loss and metrics", "manifest.parquet"),
        19: ("; ".join(f"{name}: {c['images']:,} images" for name, c in counts.items())
             + "; how they were assigned is among the options in the data card", "meta.json"),
        35: ("included: " + (f"{sum(c['patients'] for c in counts.values()):,} patients over the partitions, "
                             if facts.names_patients else "")
             + f"{store['images']:,} images; excluded images: {left_out(store)}", "meta.json"),
    }
    out[20] = ("image: the data name no patients, so one patient may be in several partitions"
               if not facts.names_patients
               else f"{facts.shared_patients:,} patients are in more than one partition" if facts.shared_patients
               else "patient (counted: no patient identifier is in two partitions)", "manifest.parquet")
    if facts.phantoms:
        out[14] = ("known by construction: the images and their lesions were drawn by a program", "meta.json")
    if facts.metrics.get("where"):
        out[10] = (f"test images with {' and '.join(facts.metrics['where'])}", "metrics.json")
    return out


def model_items(facts: Facts) -> dict[int, tuple[str, str]]:
    """Items about the model and its training."""
    source, config = facts.metrics.get("provenance", {}), facts.config
    out = {
        1: (f"deep learning: {facts.kind}", "config.json"),
        22: (f"{facts.kind}, {facts.parameters:,} parameters without the critic, input {facts.image_size} × "
             f"{facts.image_size}, {len(facts.findings)} findings; options in the complete configuration",
             "config.json"),
    }
    if source:
        out[23] = (f"attrinet {source['attrinet']}, torch {source['torch']}, Python {source['python']}", "metrics.json")
    if config:
        run, data = config["run"], config["data"]
        steps = "batches of" if facts.kind != "Attri-Net" else "steps of as many positives and negatives,"
        model = config.get("model", {})
        start = "as MONAI draws them" if model.get("kind") == "backbone" else "convolutions Kaiming normal"
        out[24] = (f"pre-trained weights of {model['weights']}, but for the last layer; seed {run['seed']}"
                   if model.get("weights") else f"from scratch, no pre-trained weights; {start}; seed {run['seed']}",
                   "config.yaml")
        out[25] = (f"{steps} {run['batch_size']} images, precision {run['precision']}, contrast × "
                   f"{data['contrast'][0]}–{data['contrast'][1]}, brightness × {data['brightness'][0]}–"
                   f"{data['brightness'][1]}; {supervision(facts)}", "config.yaml")
        out[42] = ("the complete configuration at the end of this report trains the model again", "config.yaml")
    if facts.training:
        out[26] = (f"best mean AUC on the validation images ({facts.training['best_auc']:.3f}, step "
                   f"{facts.training['step']:,})", "best/training.json")
        out[27] = ("none: one model", "best/")
    return out


def result_items(facts: Facts) -> dict[int, tuple[str, str]]:
    """Items about the evaluation."""
    m = facts.metrics
    if not m:
        return {}
    out = {
        28: (f"AUC; sensitivity and specificity at thresholds {facts.thresholds}"
             + ("; class and disease sensitivity of the explanations" if "class_sensitivity" in m else ""),
             "metrics.json"),
        29: (f"95 % bootstrap intervals over {facts.units}, {m['draws']:,} draws", "metrics.json"),
        37: (f"mean AUC {interval(m['auc']['mean'])}; of every finding in “Predictions against thresholds”",
             "metrics.json"),
        38: ("sensitivity and specificity with intervals in “Predictions against thresholds”", "metrics.json"),
        39: ("“Failures”: false negatives and false positives of every finding, chosen by rule", "predictions.parquet"),
    }
    if facts.own_store:
        out[32] = (f"{facts.judged()}, split {m.get('split', '')!r}, of the same data set",
                   "metrics.json")
    if facts.explains_itself:
        out[31] = ("the prediction is the sum of its explanation: bias + contributions = logit"
                   + ("; class centres and weights show what was learned" if facts.kind == "Attri-Net" else ""),
                   "“Explanations of single images”")
    if not facts.phantoms and set(facts.views) - {"not stated"}:
        out[13] = (f"only the projections are recorded ({pairs(facts.views)})", "manifest.parquet")
    return out
