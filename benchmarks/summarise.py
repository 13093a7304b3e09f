"""Evaluated runs as one Markdown table, every figure read from their evaluation/metrics.json.

    python benchmarks/summarise.py runs/phantom_64/seed-*/unguided runs/phantom_64/seed-*/guided

A run on a store of `attrinet prepare shortcut` also gets the confounder sensitivity of its positive class centres.
"""

import argparse
import json
from pathlib import Path

from attrinet import Store, load
from attrinet.data.shortcut import tag_region, tagged_with
from attrinet.metrics.confounder_sensitivity import confounder_sensitivity

HEADS = ("run", "images (patients)", "mean AUC", "class sensitivity", "disease sensitivity", "enrichment", "commit")


def cell(value, digits=3):
    if value is None or value["value"] is None:
        return "–"
    if value["low"] is None:
        return f"{value['value']:.{digits}f}"
    return f"{value['value']:.{digits}f} [{value['low']:.{digits}f}, {value['high']:.{digits}f}]"


def line(run, metrics):
    located = metrics.get("disease_sensitivity", {})
    inside = located.get("all", {}).get("mean", {}).get("inside")
    enrichment = located.get("true_positives", {}).get("mean", {}).get("enrichment")
    score = metrics.get("class_sensitivity", {}).get("mean")
    return (str(run), f"{metrics['images']} ({metrics['patients']})", cell(metrics["auc"]["mean"]),
            "–" if score is None else f"{score:.3f}", cell(inside), cell(enrichment, 1),
            str(metrics["provenance"]["commit"]))


def row(cells):
    return "| " + " | ".join(cells) + " |"


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("runs", nargs="+", type=Path)
parser.add_argument("--evaluation", default="evaluation", help="folder of `attrinet evaluate` in every run")
parser.add_argument("--findings", action="store_true", help="AUC of every finding instead")
arguments = parser.parse_args()

results = {run: json.loads((run / arguments.evaluation / "metrics.json").read_text()) for run in arguments.runs}
if arguments.findings:
    names = list(next(iter(results.values()))["auc"])
    print(row(["run", *names]), row(["---"] * (len(names) + 1)), sep="\n")
    for run, metrics in results.items():
        print(row([str(run), *(cell(metrics["auc"].get(name)) for name in names)]))
else:
    print(row(HEADS), row(["---"] * len(HEADS)), sep="\n")
    for run, metrics in results.items():
        print(row(line(run, metrics)))
machines = {(m["provenance"]["device"], m["provenance"]["torch"], m["provenance"]["threads"]) for m in results.values()}
print("\n" + "; ".join(f"{device}, torch {torch}, {threads} thread(s)" for device, torch, threads in sorted(machines)))

for run in arguments.runs:
    store = Store.open(json.loads((run / "best" / "training.json").read_text())["config"]["data"]["store"])
    if tag_region(store) is not None:
        model, mask = load(run), tagged_with(store).mask(store.size, 0)
        centers = model.global_explanation().positive_center.numpy()
        values = (f"{name} {confounder_sensitivity(centers[c], mask):.3f}" for c, name in enumerate(model.findings))
        print(f"{run}: confounder sensitivity of the positive centres: {', '.join(values)}")
