"""attrinet evaluate"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import click
import torch

from attrinet import __version__
from attrinet.allocator import keep_freed_memory
from attrinet.cli.evaluation_table import summary
from attrinet.cli.run_folder import Run, device_option, home, make_folder, open_run, store_option
from attrinet.data.source import SPLITS
from attrinet.data.store import Store
from attrinet.errors import AttrinetError, Stopped
from attrinet.evaluation import choose_thresholds, evaluate, jsonable
from attrinet.evaluation.bench import PERTURBED
from attrinet.evaluation.kept import KeptMaps
from attrinet.evaluations import AS_PUBLISHED, OWN, folder_name
from attrinet.facts import read_json
from attrinet.files import checksum, write_json
from attrinet.folder import ON_VALIDATION
from attrinet.nets.attrinet import AttriNet
from attrinet.nets.weights import weights_hash
from attrinet.posthoc.build import NAMES, build, open_autoencoder
from attrinet.protocols import Explainer
from attrinet.provenance import provenance

UNFINISHED = "unfinished-"
WORTH_TUNING = 200  # images from which measuring how to group the findings pays off


@click.command("evaluate")
@click.argument("run", type=click.Path(path_type=Path))
@store_option
@click.option("--split", type=click.Choice(SPLITS), default="test", show_default=True)
@click.option("--where", multiple=True, metavar="COLUMN=VALUE", help="Only images with this value in the manifest.")
@click.option("--explainer", metavar="NAME", help=f"Whose maps are judged: {OWN} (the model's, and the default), "
              f"{', '.join(NAMES)}.")
@click.option("--as-published", is_flag=True, help="The explainer as in the Attri-Net paper, not as it is advised.")
@click.option("--autoencoder", type=click.Path(path_type=Path), help="For gifsplanation: a folder of "
              "train-autoencoder, or torchxrayvision's weights file.")
@click.option("--limit", type=click.IntRange(min=4), help="Each judgement of explanations looks at so many images a "
              "finding at most, drawn from --seed; for slow explainers.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write; RUN/evaluation, or "
              "RUN/evaluation-EXPLAINER, if left out.")
@click.option("--draws", default=1000, type=click.IntRange(min=1), show_default=True,
              help="Bootstrap draws over patients.")
@click.option("--grids", default=200, type=click.IntRange(min=0), show_default=True,
              help="2×2 grids a finding for class sensitivity.")
@click.option("--perturbed", default=PERTURBED, type=click.IntRange(min=0), show_default=True,
              help="Images a finding for deletion and insertion.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True,
              help="Of bootstrap, grids, samples and explainers.")
@click.option("--set-thresholds", is_flag=True, help="Choose thresholds on 'valid' first and keep them in the model.")
@device_option
@click.option("--quiet", is_flag=True, help="No progress bar.")
def command(run, store, split, where, explainer, as_published, autoencoder, out, set_thresholds, device, quiet,
            **options) -> None:
    """Judge a trained model and one explainer of it, with 95 % intervals over patients.

    Predictions: AUC, average precision, calibration, sensitivity and specificity at the model's thresholds.
    Explanations: class and disease sensitivity, pointing game, IoU, deletion, insertion, whether the map adds up to
    the logit, whether deleting it flips the call, whether it depends on the weights; on a store with a drawn tag, how
    much of it is on the tag. Writes metrics.json and the tables predictions, localisation, grids and perturbation
    (.parquet).
    Stopped or killed amid an explainer that takes hundreds of predictions a map, the same command goes on with the maps
    it has made.

    \b
    Examples:
      attrinet evaluate runs/nih_64
      attrinet evaluate runs/resnet50 --explainer lime --limit 40
      attrinet evaluate runs/nih_64 --where Pneumonia=1 --out runs/nih_64/evaluation-sick
      attrinet evaluate models/theirs --store stores/chexpert --set-thresholds
    """
    if set_thresholds and split == "valid":
        raise AttrinetError("--set-thresholds chooses on 'valid': judged there, calls would look better than they are; "
                            "leave out --split valid")
    keep_freed_memory()
    opened = open_run(run, device)
    data = opened.store(store)
    rebuild = explainer_of(opened, explainer, as_published, autoencoder, options["seed"])
    folder = out or default_folder(run, explainer or OWN, as_published)
    if out is None:
        require_same_images(folder, data.truth(data.chosen(split, where)))
    make_folder(folder)
    if set_thresholds:
        save_thresholds(opened, choose_thresholds(opened.model, data))
        opened = open_run(run, device)
    metrics = run_evaluation(
        opened, data, split, where, folder, rebuild=rebuild, named=explainer or OWN, as_published=as_published,
        autoencoder=autoencoder, progress=not quiet, **options,
    )
    click.echo(summary(metrics))
    click.echo(f"written: {folder}")


def require_same_images(folder: Path, truth: str) -> None:
    """Raise AttrinetError where `folder` holds the evaluation of images or labels other than Store.truth `truth`'s."""
    there = read_json(folder, "metrics.json")
    if there.get("truth_checksum", truth) != truth:
        judged = ", ".join([f"{there['split']!r} of {there['store']}", *there["where"]])
        raise AttrinetError(f"{folder}: holds the evaluation of other images or labels ({judged}); name another "
                            "folder with --out, or delete that one")


def default_folder(run: Path, explainer: str = OWN, as_published: bool = False) -> Path:
    """Where `evaluate` writes by itself."""
    return home(run) / folder_name(explainer + AS_PUBLISHED if as_published else explainer)


def explainer_of(
    run: Run, name: str | None, as_published: bool, autoencoder: Path | None, seed: int
) -> Callable[[torch.nn.Module], Explainer] | None:
    """model → explainer of it, by the name of --explainer; None for a model without one of which none was asked.

    Raises AttrinetError, before anything is computed, for what cannot be explained so.
    """
    if autoencoder is not None and name != "gifsplanation":
        raise AttrinetError("--autoencoder: only --explainer gifsplanation looks through one")
    if name in (None, OWN):
        if as_published:
            raise AttrinetError("--as-published: names another setting of a rival; add --explainer")
        if run.explainer is None and name == OWN:
            raise AttrinetError(f"{run.path}: a {run.model.name} has no explanation of its own; choose --explainer "
                                f"from {', '.join(NAMES)}")
        return None if run.explainer is None else lambda model: model
    through = None if autoencoder is None else open_autoencoder(autoencoder, run.model.device)

    def rebuild(model: torch.nn.Module) -> Explainer:
        return build(name, model, autoencoder=through, as_published=as_published, seed=seed)

    rebuild(run.model)
    return rebuild


def run_evaluation(
    run: Run, store: Store, split: str, where: tuple[str, ...], folder: Path, *,
    rebuild: Callable[[torch.nn.Module], Explainer] | None = None, named: str = OWN, as_published: bool = False,
    autoencoder: Path | None = None, seed: int = 0, **options,
) -> dict:
    """Evaluate and save; returns the metrics as written. rebuild: model → explainer that is judged in place of the
    model's own explanation; named, as_published, autoencoder: which it is.

    Maps that are dear lie in folder/unfinished-… until all is written. Raises Stopped, on Ctrl-C, where there are any.
    """
    thresholds = dict(zip(run.model.findings, run.model.thresholds.tolist(), strict=True))
    rows = store.chosen(split, where)
    attrinet = isinstance(run.model, AttriNet)
    if attrinet and len(rows) >= WORTH_TUNING:
        run.model.tune(store.batch(rows[:4]))
    explainer = rebuild(run.model) if rebuild else run.explainer
    disk = KeptMaps(folder / unfinished(run, store, (named, as_published, seed), autoencoder)) if rebuild else None
    try:
        result = evaluate(run.model, explainer, store, rows, thresholds, rebuild=rebuild, seed=seed, disk=disk,
                          **options)
    except KeyboardInterrupt as stopped:
        if disk is None or not disk.folder.exists():
            raise
        raise Stopped(f"{folder}: stopped; the maps made so far are kept, the same command goes on with them"
                      ) from stopped
    if explainer is not None:
        result.metrics["explainer"] |= {"key": named, "as_published": as_published}
    result.metrics.update({
        "split": split, "where": list(where), "store": str(store.path), "store_checksum": store.meta["checksum"],
        "patients_named": store.names_patients, "truth_checksum": store.truth(rows), "weights": weights_hash(run.model),
        "provenance": provenance(run.model.device) | {
            **({"findings in one pass": run.model.findings_per_pass} if attrinet else {}),
            "training seed": run.config.run.seed if run.config else None,
        },
    })
    try:
        result.save(folder)
    except OSError as error:
        raise AttrinetError(f"{folder}: cannot be written ({error.strerror})") from error
    for left in folder.glob(f"{UNFINISHED}*"):
        shutil.rmtree(left)
    return jsonable(result.metrics)


def unfinished(run: Run, store: Store, explainer: tuple, autoencoder: Path | None) -> str:
    """Name of the folder of kept maps: another one for any other model, store or explainer."""
    through = None
    if autoencoder is not None:
        through = checksum(autoencoder if autoencoder.is_file() else autoencoder / "autoencoder.safetensors")
    made_by = json.dumps([__version__, weights_hash(run.model), run.model.findings, store.meta["checksum"], explainer,
                          through])
    return UNFINISHED + hashlib.blake2b(made_by.encode(), digest_size=8).hexdigest()


def save_thresholds(run: Run, thresholds: dict[str, float]) -> None:
    """Keep thresholds that were chosen on validation images in the model folder."""
    folder = run.path if (run.path / "thresholds.json").exists() else run.path / "best"
    write_json(folder / "thresholds.json", thresholds)
    write_json(folder / "config.json", read_json(folder, "config.json") | {"thresholds_from": ON_VALIDATION})
