"""attrinet prepare"""

from __future__ import annotations

import csv
import io
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import click

from attrinet.data.images import INTENSITIES
from attrinet.data.manifest import UNCERTAIN, renamed
from attrinet.data.prepare import prepare
from attrinet.data.source import SPLITS, Source
from attrinet.data.store import Store
from attrinet.errors import AttrinetError


@click.group("prepare")
def command() -> None:
    """Read a dataset once into a store that trains fast. A kill loses nothing: run the same command again.

    \b
    Examples:
      attrinet prepare table --labels labels.csv --images png/ --out stores/mine --size 320
      attrinet prepare chestxray14 ChestX-ray14 --out stores/chestxray14 --size 320
      attrinet prepare phantom --n 2000 --out stores/phantom --size 64
    """


def store_options(function):
    """Options of every adapter: where the store goes and how its images are made."""
    options = [
        click.option("--out", type=click.Path(path_type=Path), required=True, help="Store folder to write."),
        click.option("--size", default=320, show_default=True, help="Pixels a side."),
        click.option("--keep-aspect", is_flag=True, help="Pad to a square instead of stretching as the paper does."),
        click.option("--intensity", type=click.Choice(INTENSITIES),
                     help="Grey-level mapping; the adapter's own if left out (paper: 5th to 95th percentile; "
                          "none: files of 0 to 255)."),
        click.option("--rename", multiple=True, metavar="FINDING=NAME", help="Call a finding as a model of other data "
                     "does; can be given several times."),
        click.option("--workers", default=os.cpu_count() or 1, show_default="all cores", help="Processes."),
        click.option("--verify", is_flag=True, help="Read the store back and compare checksums."),
        click.option("--quiet", is_flag=True, help="No progress bar."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def run(source: Source, out: Path, verify: bool, quiet: bool, rename: Sequence[str] = (), **options) -> None:
    """Prepare, verify where asked, and say what is there and what was left out."""
    if rename:
        source = renamed(source, new_names(rename))
    warn_of_size(options["size"])
    finished = (out / "meta.json").exists()
    store = prepare(source, out, progress=not quiet, **options)
    if verify:
        store.verify()
        click.echo(f"{out}: verified, every byte as written")
    click.echo(summary(store))
    for split in ("valid", "test"):
        for sign in ("positive", "negative"):
            if absent := without(store, split, sign):
                warnings.warn(f"{split} has no {sign} {', '.join(absent)}: no AUC of that there", stacklevel=2)
    if finished and source.name != "shortcut" and store.meta["excluded"].get("unreadable"):  # a tag reads no file
        click.echo(f"{out}: was finished before, and unreadable files are not tried again; for that, delete it and run "
                   "the same command again")


def warn_of_size(size: int) -> None:
    """Before hours of work: what train will refuse."""
    from attrinet.nets.geometry import geometry

    try:
        geometry(size)
    except AttrinetError as error:
        warnings.warn(f"a store of {size} pixels cannot train Attri-Net, only baselines: {error}", stacklevel=3)


def without(store: Store, split: str, sign: str) -> list[str]:
    """Findings that no image of a split has ("positive") or that none lacks ("negative"), where it has images."""
    counts = store.meta["counts"][split]
    return [f for f in store.findings if counts["images"] and not counts["findings"][f][sign]]


def summary(store: Store) -> str:
    """What a store holds and what was left out, as a small table."""
    patients = store.manifest["patient"].nunique() if store.names_patients else "unknown"
    lines = [f"{store.path}: {len(store)} images of {store.size}×{store.size} pixels, "
             f"{patients} patients, {store.images.nbytes / 1e6:.1f} MB"]
    width = max(map(len, store.findings)) + 2
    lines.append(" " * width + "".join(f"{name:>20}" for name in SPLITS) + f"{'annotated':>12}")
    counts = store.meta["counts"]
    lines.append(f"{'images':<{width}}" + "".join(f"{counts[name]['images']:>20}" for name in SPLITS))
    for finding in store.findings:
        cells = []
        for name in SPLITS:
            c = counts[name]["findings"][finding]
            cells.append(f"{c['positive']} + / {c['negative']} −" + (f" / {c['unknown']} ?" if c["unknown"] else ""))
        row = f"{finding:<{width}}" + "".join(f"{cell:>20}" for cell in cells)
        lines.append(row + f"{store.meta['annotated'].get(finding, 0):>12}")
    left = [f"{count} {reason}" for reason, count in store.meta["excluded"].items() if count]
    lines.append("left out: " + ("; ".join(left) if left else "nothing"))
    if left:
        lines.append(f"which, and why: {store.path / 'excluded.csv'}")
    return "\n".join(lines)


def names(text: str | None) -> tuple[str, ...]:
    """What stands between the commas, as in a CSV: a name that has one itself is in double quotes."""
    try:
        rows = csv.reader(io.StringIO(f"{text or ''}\n"), skipinitialspace=True)
        parts = [part for row in rows for part in row]
    except csv.Error as error:
        raise AttrinetError(f"{text}: want names between commas ({error})") from error
    if parts and parts[-1].endswith("\n"):
        raise AttrinetError(f"{text}: a double quote is not closed; write \"Mass, left\",Edema")
    return tuple(part.strip() for part in parts if part.strip())


def new_names(given: Sequence[str]) -> dict[str, str]:
    """FINDING=NAME, one of each → finding: name."""
    pairs = [tuple(part.strip() for part in text.split("=", 1)) for text in given]
    if any(len(pair) < 2 or not all(pair) for pair in pairs) or len(dict(pairs)) < len(pairs):
        raise AttrinetError(f"--rename {' '.join(given)}: want FINDING=NAME, once a finding")
    return dict(pairs)


def policies(text: str) -> str | dict[str, str]:
    """`zeros`, or `Edema=ones,"Mass, left"=ignore` (findings not named: zeros)."""
    if "=" not in text:
        return text
    pairs = dict(part.split("=", 1) for part in names(text) if "=" in part)
    wrong = sorted(set(pairs.values()) - set(UNCERTAIN))
    if wrong or len(pairs) != len(names(text)):
        raise AttrinetError(f"--uncertain {text}: want one of {', '.join(UNCERTAIN)}, or finding=policy,finding=policy")
    return pairs


@command.command("table")
@click.option("--labels", type=click.Path(path_type=Path), required=True, help="CSV or Parquet, one row an image.")
@click.option("--images", type=click.Path(path_type=Path), required=True, help="Folder of PNG, JPEG or DICOM files.")
@click.option("--findings", help="Label columns, comma-separated, one with a comma in "
              "double quotes; every column of only 1, 0, -1 if left out.")
@click.option("--image-column", default="image", show_default=True)
@click.option("--patient-column", default="patient", show_default=True, help="'' where there is none.")
@click.option("--split-column", help="Column of train, valid, test; a split by patient is made if left out.")
@click.option("--view-column", help="Column of the projection (PA, AP, lateral).")
@click.option("--views", help="Keep only these values of --view-column, comma-separated.")
@click.option("--boxes", type=click.Path(path_type=Path), help="CSV: image, finding, x, y, w, h in pixels.")
@click.option("--masks", type=click.Path(path_type=Path),
              help="Folder of <image>_<finding>.png; _ may stand for what a file cannot be called.")
@click.option("--uncertain", default="zeros", show_default=True, help="-1 becomes zeros, ones, ignore; or finding=….")
@click.option("--fractions", default="0.7,0.1,0.2", show_default=True, help="Train, valid, test shares of patients.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the split.")
@store_options
def table(labels, images, findings, image_column, patient_column, split_column, view_column, views, boxes, masks,
          uncertain, fractions, seed, out, verify, quiet, **options) -> None:
    """Your own data: a table of labels and a folder of images.

    \b
    Example:
      attrinet prepare table --labels labels.csv --images png/ --boxes boxes.csv --out stores/mine --size 320
    """
    from attrinet.data.table import table_source

    try:
        shares = dict(zip(SPLITS, (float(part) for part in names(fractions)), strict=True))
    except ValueError as error:
        raise AttrinetError(f"--fractions {fractions}: want three numbers, for instance 0.7,0.1,0.2") from error
    source = table_source(
        labels, images, findings=names(findings), image_column=image_column, patient_column=patient_column or None,
        split_column=split_column, view_column=view_column, views=names(views), boxes=boxes, masks=masks,
        uncertain=policies(uncertain), fractions=shares, seed=seed,
    )
    run(source, out, verify, quiet, **options)


@command.command("chestxray14")
@click.argument("root", type=click.Path(path_type=Path))
@click.option("--findings", help="Of the 14 and 'No Finding', comma-separated; the paper's five if left out.")
@click.option("--views", default="PA,AP", show_default=True, help="Keep only these, comma-separated.")
@click.option("--valid-fraction", default=0.2, show_default=True, help="Share of the train_val patients.")
@click.option("--box-train", default=0.0, show_default=True,
              help="Share of the patients with boxes moved from test to train, for guidance (paper: 0.4).")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of both shares.")
@store_options
def chestxray14(root, findings, views, valid_fraction, box_train, seed, out, verify, quiet, **options) -> None:
    """ChestX-ray14 (ChestX-ray8) of the NIH, with its official split and its boxes.

    ROOT holds the images, Data_Entry_2017*.csv, BBox_List_2017.csv, train_val_list.txt and test_list.txt. Every box
    belongs to a test image: to train with guidance, give some of them to train with --box-train.

    \b
    Examples:
      attrinet prepare chestxray14 ChestX-ray14 --out stores/chestxray14 --size 320
      attrinet prepare chestxray14 ChestX-ray14 --box-train 0.4 --out stores/chestxray14_guided --size 320
    """
    from attrinet.data.chestxray14 import FINDINGS, chestxray14_source

    source = chestxray14_source(
        root, findings=names(findings) or FINDINGS, views=names(views), valid_fraction=valid_fraction,
        box_train=box_train, seed=seed,
    )
    run(source, out, verify, quiet, **options)


@command.command("chexpert")
@click.argument("root", type=click.Path(path_type=Path))
@click.option("--chexlocalize", type=click.Path(path_type=Path), help="Its folder: test split and segmentations.")
@click.option("--findings", help="Label columns, comma-separated; the paper's five if left out.")
@click.option("--views", default="frontal", show_default=True, help="Of frontal, lateral, AP, PA, comma-separated.")
@click.option("--uncertain", default="zeros", show_default=True, help="-1 becomes zeros, ones, ignore; or finding=….")
@click.option("--blank", default="zeros", show_default=True, help="A blank label becomes zeros or ignore.")
@click.option("--valid", default="official", show_default=True,
              help="official, or train: some training patients validate, and the official validation images train.")
@click.option("--valid-fraction", default=0.02, show_default=True, help="Share of patients for --valid train.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of --valid train.")
@store_options
def chexpert(root, chexlocalize, findings, views, uncertain, blank, valid, valid_fraction, seed, out, verify, quiet,
             **options) -> None:
    """CheXpert, full size or small, with the test set and the segmentations of CheXlocalize.

    ROOT holds train.csv, valid.csv, train/ and valid/. To guide by the validation segmentations without validating on
    them, add --valid train.

    \b
    Examples:
      attrinet prepare chexpert CheXpert-v1.0 --chexlocalize CheXlocalize --out stores/chexpert --size 320
      attrinet prepare chexpert CheXpert-v1.0 --chexlocalize CheXlocalize --valid train --out stores/chexpert_guided
    """
    from attrinet.data.chexpert import FINDINGS, chexpert_source

    source = chexpert_source(
        root, chexlocalize=chexlocalize, findings=names(findings) or FINDINGS, views=names(views),
        uncertain=policies(uncertain), blank=blank, valid=valid, valid_fraction=valid_fraction, seed=seed,
    )
    run(source, out, verify, quiet, **options)


@command.command("phantom")
@click.option("--n", default=2000, show_default=True, help="Phantoms to draw, one a patient.")
@click.option("--bedside", default=0.0, show_default=True,
              help="Share of patients with a finding who are imaged in bed (view AP), as a tenth of the healthy are.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of anatomy, findings and split.")
@store_options
def phantom(n, bedside, seed, out, verify, quiet, **options) -> None:
    """Procedural radiographs whose lesions are known to the pixel. For teaching and testing, never to publish.

    \b
    Example:
      attrinet prepare phantom --n 2000 --size 64 --out stores/phantom
    """
    from attrinet.data.phantom import phantom_source

    run(phantom_source(n, options["size"], seed, bedside=bedside), out, verify, quiet, **options)


@command.command("vindr")
@click.argument("root", type=click.Path(path_type=Path))
@click.option("--findings", help="Findings, comma-separated; the paper's five if left out.")
@click.option("--policy", default="majority", show_default=True,
              help="Of a training image's radiologists, who must agree on a finding: majority, any, all.")
@click.option("--valid-fraction", default=0.2, show_default=True, help="Share of the training images that validates.")
@click.option("--test-fraction", default=0.2, show_default=True,
              help="Share set aside for testing where there is no official test split (Kaggle's edition).")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the split.")
@store_options
def vindr(root, findings, policy, valid_fraction, test_fraction, seed, out, verify, quiet, **options) -> None:
    """VinDr-CXR with the radiologists' boxes, from PhysioNet or Kaggle, as it was unpacked in ROOT.

    \b
    Example:
      attrinet prepare vindr vindr-cxr --out stores/vindr --size 320 --policy majority
    """
    from attrinet.data.vindr import FINDINGS, vindr_source

    source = vindr_source(root, findings=names(findings) or FINDINGS, policy=policy, valid_fraction=valid_fraction,
                          test_fraction=test_fraction, seed=seed)
    run(source, out, verify, quiet, **options)


@command.command("shortcut")
@click.argument("store", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Store folder to write.")
@click.option("--finding", default="Cardiomegaly", show_default=True, help="Whose label the tag gives away.")
@click.option("--tag", default="text", show_default=True, help="text, marker (white square) or border (white frame).")
@click.option("--text", show_default="CXR-ROOM1", help="Of a text tag.")
@click.option("--place", default="fixed", show_default=True, help="fixed, or anywhere: another place in every image.")
@click.option("--positives", default=0.5, show_default=True, help="Share of images with the finding to tag.")
@click.option("--negatives", default=0.0, show_default=True, help="Share of images without it to tag.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True,
              help="Of which images are tagged, and where.")
@click.option("--workers", default=os.cpu_count() or 1, show_default="all cores", help="Processes.")
@click.option("--verify", is_flag=True, help="Read the store back and compare checksums.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def shortcut(store, out, finding, tag, text, place, positives, negatives, seed, workers, verify, quiet) -> None:
    """Draw a spurious tag into a prepared STORE, to see whether a model takes the shortcut (paper §4.5).

    \b
    Example:
      attrinet prepare shortcut stores/chexpert --finding Cardiomegaly --out stores/chexpert_shortcut
    """
    from attrinet.data.shortcut import TEXT, Tag, shortcut_source

    if text is not None and tag != "text":
        raise AttrinetError(f"--text {text}: a {tag} shows no text; leave it out, or choose --tag text")
    drawn = Tag(tag, TEXT if text is None else text, place, seed)
    source = shortcut_source(store, finding, drawn, positives=positives, negatives=negatives,
                             seed=seed)
    size = Store.open(store).size
    run(source, out, verify, quiet, size=size, keep_aspect=False, intensity=None, workers=workers)
    click.echo(f"tagged: {int(source.manifest['tagged'].sum())} images")


@command.command("verify")
@click.argument("store", type=click.Path(path_type=Path))
def verify(store) -> None:
    """Read a finished store again and compare every byte with the checksums it was given. Needs no source.

    \b
    Example:
      attrinet prepare verify stores/phantom
    """
    opened = Store.open(store)
    opened.verify()
    click.echo(f"{store}: verified, {len(opened)} images and their tables, every byte as written")
