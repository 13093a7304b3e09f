"""attrinet compare"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import click

from attrinet.cli.run_folder import device_option, open_run
from attrinet.data.store import Store
from attrinet.errors import AttrinetError
from attrinet.evaluations import AS_PUBLISHED, OWN
from attrinet.facts import changed_since, read_json
from attrinet.nets.weights import weights_hash
from attrinet.posthoc.build import NAMES, build, open_autoencoder
from attrinet.report.compare_build import build_comparison
from attrinet.report.compare_runs import TRAINED_ON, Judged, read_run
from attrinet.report.published import DATASETS
from attrinet.train.config import Config, flat, load_config
from attrinet.train.guide import build_guidance

NOT_UNUSUAL = ("data.store", "data.findings", "guidance.mode", "run.seed", "model.kind")  # told elsewhere
BOOKKEEPING = ("data.resident", "run.accelerator", "run.checkpoint_every", "run.log_every", "run.sample_every",
               "run.eval_batch_size", "run.compile")


@click.command("compare")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--dataset", type=click.Choice(list(DATASETS)),
              help="The runs were evaluated on this dataset: put the paper's numbers of it beside ours.")
@click.option("--autoencoder", type=click.Path(path_type=Path), help="Of the gifsplanation that was evaluated, to draw "
              "its maps.")
@device_option
@click.option("--quiet", is_flag=True, help="No progress bar.")
def command(runs, out, dataset, autoencoder, device, quiet) -> None:
    """Make Tables 2 to 8 and Figures 7, 8, 10 to 17 of the paper from evaluated run folders.

    Takes RUN/evaluation and, of post-hoc explainers, RUN/evaluation-NAME. Runs that differ only in the seed count as
    one method. Writes tables (CSV, Markdown), figures (SVG, PDF), comparisons.csv and index.md, which links them and
    says what is missing for the rest.

    \b
    Examples:
      attrinet compare runs/resnet runs/bcos runs/plain runs/guided --out comparison
      attrinet compare runs/chexpert* --out comparison --dataset chexpert
    """
    source = Source(device, autoencoder)
    evaluations = [one for run in dict.fromkeys(runs) for one in evaluations_of(run, source)]
    made = build_comparison(out, evaluations, dataset=dataset, source=source, progress=not quiet)
    tests = {one.test for one in evaluations}
    if len(tests) > 1:
        click.echo(f"not all judged on the same images: there are {len(tests)} test sets, and methods are compared "
                   "within each alone")
    for line in shortened(made.missing):
        click.echo(line)
    click.echo(f"written: {out / 'index.md'}")


def shortened(missing: list[tuple[str, str]]) -> list[str]:
    """A line for all that more runs would bring, and one for every other reason; index.md has them one by one."""
    reasons: dict[str, list[str]] = {}
    for what, why in missing:
        reasons.setdefault("" if why.startswith("needs ") else why, []).append(what.split(",")[0])
    wanting = reasons.pop("", [])
    lines = [f"not made: {', '.join(what)}: {why}" for why, what in reasons.items()]
    if wanting:
        lines.append(f"not made, or not every row, for want of runs: {', '.join(wanting)}; index.md says what each "
                     "needs")
    return lines


def evaluations_of(run: Path, source: Source) -> list[Judged]:
    """Raises AttrinetError for a folder that is no evaluated run, and for an evaluation of other weights or
    thresholds than its."""
    if not (run / "config.yaml").is_file():
        raise AttrinetError(f"{run}: no run folder (no config.yaml there); give the folders that attrinet train wrote")
    config, usual = dict(flat(load_config(run / "config.yaml"))), dict(flat(Config()))
    unusual = {k: v for k, v in config.items() if v != usual[k] and k not in (*NOT_UNUSUAL, *BOOKKEEPING)}
    trained_on = read_json(run, "best/training.json").get("data", config["data.store"])
    found = read_run(run, config | {TRAINED_ON: json.dumps(trained_on, sort_keys=True)}, unusual, NAMES)
    model = source.run(run).model
    weights = weights_hash(model)
    for one in found:
        if other := changed_since(one.metrics, model, weights):
            raise AttrinetError(f"{one.folder}: is of other {other} than {run} has now; run attrinet evaluate again")
    return found


class Source:
    """Models, explainers, stores and guidance masks of evaluations, opened when a figure asks for them."""

    def __init__(self, device: str, autoencoder: Path | None):
        self.run = lru_cache(maxsize=None)(lambda path: open_run(path, device))
        self.autoencoder = autoencoder

    def load(self, one: Judged) -> tuple:
        """The run's model and the explainer that was judged. Raises AttrinetError for one that cannot be built."""
        opened = self.run(one.run)
        if one.explainer == OWN:
            return opened.model, opened.explainer
        name, through = one.explainer.removesuffix(AS_PUBLISHED), None
        if name == "gifsplanation" and self.autoencoder is not None:
            through = open_autoencoder(self.autoencoder, opened.model.device)
        return opened.model, build(name, opened.model, autoencoder=through, seed=one.metrics["seed"],
                                   as_published=one.explainer.endswith(AS_PUBLISHED))

    def store(self, one: Judged) -> Store:
        """The store of an evaluation. Raises AttrinetError where it is gone, or is not what was evaluated on."""
        store = Store.open(one.metrics["store"])
        store.require_judged(one.metrics, one.folder)
        return store

    def masks(self, one: Judged, store: Store, mode: str):
        """(C, size, size) guidance masks of a mode, as a run with these settings would make them."""
        config = load_config(one.run / "config.yaml")
        config = replace(config, guidance=replace(config.guidance, mode=mode),
                         losses=replace(config.losses, guidance=1.0))
        guidance, _ = build_guidance(config, store.select(one.findings), store.split("train"))
        return guidance.class_masks
