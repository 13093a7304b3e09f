"""Tables of docs/results.md that `attrinet compare` does not make, every figure read from files of the runs.

    python benchmarks/summarise.py runs RUN…        one line a run: AUC, class and disease sensitivity
    python benchmarks/summarise.py bench RUN…       one line a method: the same, over runs of one name (seeds)
    python benchmarks/summarise.py findings RUN…    one line a run: AUC of every finding
    python benchmarks/summarise.py shortcut RUN…    unguided and guided runs on a tagged store, in pairs
    python benchmarks/summarise.py suspicion RUN…   scores of `attrinet global`, and how many raise the alarm
    python benchmarks/summarise.py curves RUN…      losses by quarter of the training, over runs of one name (seeds)
"""

import argparse
import json
from pathlib import Path

import pandas as pd
from scipy.stats import binomtest

from attrinet.metrics.paired import auc_difference
from attrinet.metrics.suspicious_center import ALARM
from attrinet.numerals import interval


def read(run, folder="evaluation"):
    return json.loads((run / folder / "metrics.json").read_text())


def cell(value, digits=3):
    return interval(value, digits)


def table(heads, lines):
    for line in (heads, ["---"] * len(heads), *lines):
        print("| " + " | ".join(map(str, line)) + " |")
    print()


def runs(arguments):
    lines = []
    for run in arguments.runs:
        m = read(run, arguments.evaluation)
        located = m.get("disease_sensitivity", {})
        lines.append((
            run, f"{m['images']} ({m['patients']})", cell(m["auc"]["mean"]),
            cell(m.get("class_sensitivity_interval", {}).get("mean")),
            cell(located.get("all", {}).get("mean", {}).get("inside")),
            cell(located.get("true_positives", {}).get("mean", {}).get("enrichment"), 1),
        ))
    table(("run", "images (patients)", "mean AUC", "class sensitivity", "disease sensitivity", "enrichment"), lines)
    made_by([read(run, arguments.evaluation) for run in arguments.runs])


def bench(arguments):
    """Every evaluation in the runs; those of one name in runs of one name are seeds of one method."""
    found = {}
    for run in arguments.runs:
        for file in sorted(run.glob("evaluation*/metrics.json")):
            found.setdefault((run.name, file.parent.name), []).append(json.loads(file.read_text()))
    lines = []
    for (run, _), seeds in found.items():
        explained = [m for m in seeds if "explainer" in m]
        own = not explained or explained[0]["explainer"]["key"] == "own"
        name = run if own else explained[0]["explainer"]["name"]
        if explained and explained[0]["explainer"]["as_published"]:
            name += " as published"
        name += f", {explained[0]['limit']} images a finding" if explained and explained[0]["limit"] else ""
        lines.append((
            name, len(seeds), over_seeds([m["auc"]["mean"] for m in seeds]),
            over_seeds([m.get("class_sensitivity_interval", {}).get("mean") for m in explained]),
            over_seeds([m.get("disease_sensitivity", {}).get("all", {}).get("mean", {}).get("inside")
                        for m in explained]),
            over_seeds([m["faithfulness"]["mean"]["sum_predicts_logit"]["r2"] for m in explained]),
            over_seeds([m["faithfulness"]["mean"]["flips"] for m in explained]),
            blank(explained),
        ))
    table(("method", "seeds", "mean AUC", "class sensitivity", "disease sensitivity",
           "share of the logit's variance in the map's sum", "calls flipped", "blank maps"), lines)
    made_by([m for seeds in found.values() for m in seeds])


def blank(explained):
    """Share of the annotated images whose map has no evidence for their finding at all."""
    judged = [m["disease_sensitivity"] for m in explained]
    annotated = sum(one["annotated"] for one in judged)
    return f"{100 * sum(one['blank'] for one in judged) / annotated:.1f} %" if annotated else "–"


def over_seeds(values):
    """The mean of several runs, and their lowest and highest; of one run, its interval."""
    if len(values) < 2:
        return cell(values[0] if values else None)
    known = [value["value"] for value in values if value and value["value"] is not None]
    if not known:
        return "–"
    return spread(known) + ("" if len(known) == len(values) else f", {len(known)} of {len(values)} seeds")


def findings(arguments):
    results = {run: read(run, arguments.evaluation)["auc"] for run in arguments.runs}
    names = list(next(iter(results.values())))
    table(("run", *names), [(run, *(cell(auc.get(name)) for name in names)) for run, auc in results.items()])


def shortcut(arguments):
    """Confounder sensitivity of centre and local maps, and AUC on the same test images with and without tags."""
    lines = []
    for run in arguments.runs:
        m, clean = read(run), read(run, "evaluation-clean")
        tagged = m["confounder"]["finding"]
        local = m["confounder"]["local"][tagged]
        lines.append((run, tagged, f"{m['confounder']['centres'][tagged]:.3f}", cell(local["sensitivity"]),
                      cell(m["auc"][tagged]), cell(clean["auc"][tagged]), cell(clean["auc"]["mean"])))
    table(("run", "tagged finding", "confounder sensitivity, centre", "local maps", "its AUC with tags",
           "its AUC, clean", "mean AUC, clean"), lines)
    pairs = []
    for guided in [run for run in arguments.runs if run.name.endswith("_guided")]:
        unguided = guided.with_name(guided.name.replace("_guided", "_unguided"))
        if unguided in arguments.runs:
            tagged, difference = read(guided)["confounder"]["finding"], clean_difference(unguided, guided)
            pairs.append((guided.parent, tagged, cell(difference[tagged]), cell(difference["mean"])))
    table(("guided minus unguided, clean images", "tagged finding", "its AUC", "mean AUC"), pairs)
    made_by([read(run) for run in arguments.runs])


def clean_difference(a, b):
    """Paired over patients."""
    wide = []
    for run in (a, b):
        long = pd.read_parquet(run / "evaluation-clean" / "predictions.parquet")
        names = list(dict.fromkeys(long["finding"]))
        wide.append({k: long.pivot(index=["id", "patient"], columns="finding", values=k)[names]
                     for k in ("label", "probability")})
    first, second = wide
    assert first["label"].index.equals(second["label"].index)
    labels = first["label"].astype("Float64").to_numpy(float, na_value=float("nan"))
    patients = first["label"].index.get_level_values("patient").to_numpy()
    return {name: vars(interval) for name, interval in auc_difference(
        labels, first["probability"].to_numpy(float), second["probability"].to_numpy(float), names, patients).items()}


def suspicion(arguments):
    scores = {run: json.loads((run / "global" / "suspicion.json").read_text()) for run in arguments.runs}
    names = list(dict.fromkeys(name for found in scores.values() for name in found))
    table(("run", *names), [(run, *(suspected(found.get(name)) for name in names)) for run, found in scores.items()])
    alarms = sum(one["alarm"] for found in scores.values() for one in found.values())
    centers = sum(map(len, scores.values()))
    bound = binomtest(alarms, centers).proportion_ci(0.95, "exact")
    print(f"alarm from {ALARM}: {alarms} of {centers} centres, 95 % interval of the rate {bound.low:.3f} to "
          f"{bound.high:.3f}\n")


def suspected(found):
    return f"{found['score']:.3f}{' **alarm**' if found['alarm'] else ''}" if found else "–"


def curves(arguments):
    """Of every loss its mean over each quarter of the training, over the runs of one name; and the best validation
    AUC."""
    groups, best = {}, {}
    for run in arguments.runs:
        log = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        steps = max(record["step"] for record in log)
        losses = pd.DataFrame([record for record in log if record["kind"] == "train"]).drop(columns="kind")
        quarters = losses.groupby((4 * (losses["step"] - 1) // steps).rename("quarter")).mean().drop(columns="step")
        groups.setdefault(run.name, []).append(quarters)
        best.setdefault(run.name, []).append(max(r["mean_auc"] for r in log if r["kind"] == "valid"))
    lines = [(loss, quarter + 1, *(spread([one[loss][quarter] for one in seeds]) for seeds in groups.values()))
             for loss in next(iter(groups.values()))[0] for quarter in range(4)]
    lines.append(("best validation AUC", "", *map(spread, best.values())))
    table(("loss", "quarter", *(f"{name}, {len(seeds)} seeds" for name, seeds in groups.items())), lines)
    made_by([read(run) for run in arguments.runs])


def spread(values):
    return f"{sum(values) / len(values):.3f} ({min(values):.3f} … {max(values):.3f})"


def made_by(results):
    commits = {}
    for made in (m["provenance"] for m in results):
        commits.setdefault((made["device"], made["torch"], made["threads"]), set()).add(str(made["commit"]))
    print("; ".join(f"{device}, torch {torch}, {threads} thread(s), commit {', '.join(sorted(of_machine))}"
                    for (device, torch, threads), of_machine in sorted(commits.items(), key=str)) + "\n")


COMMANDS = {command.__name__: command for command in (runs, bench, findings, shortcut, suspicion, curves)}
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("what", choices=COMMANDS)
parser.add_argument("runs", nargs="+", type=Path)
parser.add_argument("--evaluation", default="evaluation", help="folder of `attrinet evaluate` in every run")
options = parser.parse_args()
COMMANDS[options.what](options)
