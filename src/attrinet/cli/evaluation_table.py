"""The figures of metrics.json as tables for a terminal of 120 columns."""

from __future__ import annotations

from collections.abc import Callable

from attrinet.numerals import interval, number


def summary(metrics: dict) -> str:
    """metrics: as read from metrics.json."""
    names = [name for name in metrics["auc"] if name != "mean"]
    width = max(map(len, names)) + 2
    named = metrics.get("patients_named", True)  # not said by earlier versions
    lines = [f"{metrics['images']} images, {metrics['patients']} patients; 95 % intervals over patients" if named else
             f"{metrics['images']} images; 95 % intervals over images, as the data name no patients"]
    lines += table(width, [*names, "mean"], {
        "AUC": lambda f: cell(metrics["auc"][f]),
        "average precision": lambda f: cell(metrics["average_precision"][f]),
        "sensitivity": lambda f: cell(metrics["calls"].get(f, {}).get("sensitivity")),
        "specificity": lambda f: cell(metrics["calls"].get(f, {}).get("specificity")),
    })
    if "explainer" not in metrics:
        return "\n".join([*lines, "explanations not judged: this model has none of its own; choose one by --explainer"])
    return "\n".join([*lines, "", *explanations(metrics, names, width)])


def explanations(metrics: dict, names: list[str], width: int) -> list[str]:
    """What was found of the explainer: two tables, then what holds for all findings."""
    own, limit = metrics["explainer"], metrics["limit"]
    lines = [f"explained by {own['name']}{', as published' if own.get('as_published') else ''}: "
             f"{number(own['cost'], 0)} model calls, {number(own['seconds_per_image'], 4)} s an image and finding"
             + (f"; on at most {limit} images a finding" if limit else "")]
    located, places = metrics["disease_sensitivity"], metrics["localisation"]
    faithful = metrics["faithfulness"]
    rows = [*names, "mean"]
    lines += table(width, rows, {
        "class sensitivity": lambda f: cell(metrics["class_sensitivity_interval"].get(f)),
        "disease sensitivity": lambda f: cell(located["all"].get(f, {}).get("inside")),
        "evidence in lesion": lambda f: cell(located["true_positives"].get(f, {}).get("enrichment"), 1, " ×"),
        "pointing game": lambda f: cell(places.get(f, {}).get("pointing_game")),
    })
    lines += table(width, rows, {
        "IoU": lambda f: cell(places.get(f, {}).get("iou")),
        "deletion": lambda f: cell(metrics["deletion"].get(f)),
        "insertion": lambda f: cell(metrics["insertion"].get(f)),
        "calls flipped": lambda f: cell(faithful.get(f, {}).get("flips"), 2),
    })
    if "mean" in faithful:
        exact = faithful["mean"]["sum_predicts_logit"]
        lines.append(f"the sum of the map explains {cell(exact['r2'])} of the logit's variance; "
                     f"left over: {number(exact['residual']['value'], 2, 'e')} logits")
    if "mean" in metrics.get("randomisation", {}):
        lines.append("correlation with the map of a model of shuffled weights: "
                     + cell(metrics["randomisation"]["mean"]) + left_out(metrics["randomisation"]))
    grids = [metrics["class_sensitivity"][name] for name in names]
    blank, perturbed = sum(own["blank"] for own in grids), faithful.get("mean", {"blank": 0, "called": 0})
    if located["blank"] or blank or perturbed["blank"]:
        lines.append(f"without positive evidence, and left out: {located['blank']} of {located['annotated']} annotated "
                     f"maps, {blank} of {sum(own['grids'] for own in grids)} grids, {perturbed['blank']} of "
                     f"{perturbed['called']} maps to delete and insert by")
    return lines + confounded(metrics.get("confounder"))


def left_out(section: dict) -> str:
    """How many maps cannot be compared, as one of the two models has a blank one."""
    return f"; {section['blank']} of {section['maps']} left out, as blank" if section["blank"] else ""


def confounded(section: dict | None) -> list[str]:
    """The share of a drawn tag that is among the strongest tenth of centres and maps."""
    if section is None:
        return []
    finding, chance = section["finding"], section["chance"]
    said, own = [], section.get("local", {}).get(finding)
    if finding in section["centres"]:
        said.append(f"positive centre {section['centres'][finding]:.3f}")
    if own:
        said.append(f"maps {cell(own['sensitivity'])}")
        if own["blank"]:
            said.append(f"{own['blank']} of {own['images']} maps left out, as blank")
    lines = []
    if said:
        lines.append(f"confounder sensitivity for {finding} (chance {chance['sensitivity']}): {', '.join(said)}")
    if own:
        lines.append(f"evidence on the tag: {cell(own['inside'])}, whose area is {chance['inside']:.3f}")
    return lines


def table(width: int, rows: list[str], columns: dict[str, Callable[[str], str]]) -> list[str]:
    return [" " * width + "".join(f"{head:>23}" for head in columns),
            *(f"{name:<{width}}" + "".join(f"{get(name):>23}" for get in columns.values()) for name in rows)]


def cell(value: dict | None, digits: int = 3, unit: str = "") -> str:
    """0.931 [0.912, 0.950], a dash for what is not known or not there."""
    return "–" if value is None or value["value"] is None else interval(value, digits) + unit
