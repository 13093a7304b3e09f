"""Made-up evaluations of runs, for tests of `attrinet compare`: no model, no store, numbers one can see through."""

import itertools
from pathlib import Path

import pandas as pd

from attrinet.report.compare_runs import Judged
from attrinet.train.config import Config, flat

FINDINGS = ("Cardiomegaly", "Edema")
FIVE = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")  # the paper's, of CheXpert
_count = itertools.count()


def interval(value, half=0.01):
    return {"value": value, "low": value - half, "high": value + half}


def judged(auc=0.8, seed=0, explainer="own", inside=None, checksum="c0ffee", run=None, metrics=None, findings=FINDINGS,
           **options):
    """options: dotted settings with __ for the dot (model__kind="resnet50"); others are the paper's. inside: what the
    localisation table holds, an image each of which has both findings."""
    settings = dict(flat(Config())) | {"run.seed": seed} | {k.replace("__", "."): v for k, v in options.items()}
    run = run or Path(f"runs/{next(_count)}")
    found = {
        "images": 4, "patients": 4, "draws": 50, "seed": 0, "store": "stores/s", "store_checksum": checksum,
        "split": "test", "where": [], "auc": {f: interval(auc) for f in (*findings, "mean")},
        "calls": {f: {"threshold": 0.5} for f in findings}, "provenance": {"commit": "abc"},
    }
    if settings["model.kind"] != "resnet50" or explainer != "own":
        found |= {
            "explainer": {"name": explainer, "cost": 1.0},
            "class_sensitivity": {**{f: {"mean": 0.6, "grids": 3, "blank": 0} for f in findings}, "mean": 0.6},
            "disease_sensitivity": {"annotated": 8, "blank": 0, "all": {
                f: {"inside": interval(0.3), "inside_published": interval(0.25)} for f in (*findings, "mean")}},
        }
    one = Judged(run, run / "evaluation", settings, {}, explainer, found | (metrics or {}))
    rows = [(f"i{k}", f"p{k}", f) for k in range(4) for f in FINDINGS]
    table = pd.DataFrame(rows, columns=["id", "patient", "finding"])
    label = pd.array([1, 1, 1, 0, 0, 1, 0, 0], dtype="Int8")
    probability = [0.9, 0.8, 0.7, 0.3, 0.2, 0.6, 0.1, 0.4]
    one.__dict__["predictions"] = table.assign(label=label, probability=probability,
                                               called=[p >= 0.5 for p in probability])
    one.__dict__["localisation"] = table.assign(called=True, inside=inside or [0.3] * 8, area=0.1)
    one.__dict__["grids"] = None
    return one
