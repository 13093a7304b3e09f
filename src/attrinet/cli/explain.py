"""attrinet explain"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path

import click
import numpy as np
from PIL import Image

from attrinet.cli.prepare import names as finding_names
from attrinet.cli.run_folder import device_option, home, make_folder, open_run
from attrinet.data.images import bare_name
from attrinet.errors import AttrinetError
from attrinet.files import write_atomically
from attrinet.nets.attrinet import Explanation
from attrinet.nets.explanation import AdditiveExplanation


@click.command("explain")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IMAGE...")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write; RUN/explanations if left out.")
@click.option("--format", "formats", default="png", show_default=True, help="png, npz, or both: png,npz.")
@click.option("--findings", help="Only these, comma-separated; one with a comma in double quotes.")
@click.option("--dicom", is_flag=True, help="Also write DICOM objects that refer to the image, which must be DICOM.")
@click.option("--identity", default="carry", show_default=True, metavar="carry|remove",
              help="With --dicom: the image's patient and study, or pseudonyms and new UIDs.")
@device_option
def command(run, images, out, formats, findings, dicom, identity, device) -> None:
    """Predict IMAGEs (PNG, JPEG, DICOM) and show the evidence for every finding.

    PNG: image, contributions, attribution map and counterfactual, a line a finding; of a B-cos network, image and
    contributions. NPZ: the same as float32 arrays, with probabilities, logits, bias and thresholds. Both hold a hash
    of the image's path. A failing image does not stop the others.

    Files are called NAME, the image's file name; NAME-2 and so on where the folder, or this command, has another image
    of that name. Each image's line of output says its `name`.

    \b
    DICOM (--dicom), in the study of the image:
      NAME-sr.dcm    structured report (TID 1500): certainty, threshold and call of every finding
      NAME-seg.dcm   segmentation, a segment a finding: the fewest pixels that hold half of its evidence
      NAME-sc-N.dcm  secondary captures, one a finding: its contributions over the image
    --identity remove makes them nobody's: no attribute of patient and study is kept, UIDs are replaced (the same for
    images of one study given in one command), an image whose BurnedInAnnotation is YES is refused. Files are named
    after the image's file name, which you choose; nothing of its header goes into pictures, arrays or messages.

    \b
    Examples:
      attrinet explain runs/nih_64 study.dcm
      attrinet explain runs/nih_64 png/*.png --format png,npz --out explained/
      attrinet explain runs/nih_64 study.dcm --dicom --identity remove
    """
    kinds = [part.strip() for part in formats.split(",")]
    if not set(kinds) <= {"png", "npz"}:
        raise AttrinetError(f"--format {formats}: want png, npz, or png,npz")
    if identity != "carry" and not dicom:
        raise AttrinetError(f"--identity {identity}: is about DICOM objects; add --dicom. Pictures and arrays hold "
                            "nothing of the image's header anyway")
    opened = open_run(run, device)
    model = opened.model
    if opened.explainer is None:
        raise AttrinetError(f"{run}: a {model.name} has no explanation of its own; give a run of Attri-Net or B-cos")
    chosen = finding_names(findings) or model.findings
    shown = list(dict.fromkeys(model.finding_index(f) for f in chosen))
    writer = dicom_writer(model, shown, identity) if dicom else None
    folder = out or home(run) / "explanations"
    make_folder(folder)
    failed, names = [], unique_names(images, folder)
    endings = [f".{kind}" for kind in kinds]
    endings += ["-sr.dcm", "-seg.dcm", *(f"-sc-{k + 1}.dcm" for k in range(len(shown)))] if dicom else []
    targets = [folder / f"{name}{ending}" for name in names for ending in endings]
    if writer:
        targets += [folder / file.name for file in map(Path.resolve, images) if writer.may_remove(file, names)]
    keep_images(images, targets)
    for path, name in zip(images, names, strict=True):
        try:
            header = writer.header(path) if writer else None
            image = model.reader(path)
            result = model.explain(image)
            if writer:
                writer.write(path, header, result, folder, name)
        except AttrinetError as error:
            failed.append(str(error))
            click.echo(f"attrinet: {error}", err=True)
            continue
        if "npz" in kinds:
            save_npz(folder / f"{name}.npz", result, shown, known_as(path))
        if "png" in kinds:
            from attrinet.report.figures import contributions_figure, explanation_figure, png

            draw = explanation_figure if isinstance(result, Explanation) else contributions_figure
            picture = png(draw(image[0, 0].numpy(), result, 0, shown), {"image": known_as(path)})
            write_atomically(folder / f"{name}.png", partial(Path.write_bytes, data=picture))
        click.echo(line(path, name, result, shown))
    if len(failed) < len(images):
        click.echo(f"written: {folder}")
    if failed:
        done = "; the others are done" if len(failed) < len(images) else ""
        raise AttrinetError(f"{len(failed)} of {len(images)} images could not be explained{done}")


def dicom_writer(model, findings: list[int], identity: str):
    try:
        from attrinet.export.dicom import DicomWriter
    except ModuleNotFoundError as error:
        raise AttrinetError(f"--dicom needs {error.name}, which is not installed: "
                            "pip install 'attrinet[dicom]'") from error
    return DicomWriter(model, findings, identity)


def unique_names(images: Sequence[Path], folder: Path) -> list[str]:
    """File names to write: the image's own, numbered where two are the same or the folder has another image's."""
    names: list[str] = []
    for path in images:
        own = bare_name(path)
        name, number = own, 1
        while name in names or images_of(folder, name) - {known_as(path)}:
            number += 1
            name = f"{own}-{number}"
        names.append(name)
    return names


def known_as(path: Path) -> str:
    """What its files call an image: a hash of the whole path, which may name the patient."""
    return blake2b(os.fsencode(path.resolve()), digest_size=16).hexdigest()


def images_of(folder: Path, name: str) -> set[str]:
    """What the NPZ and the PNG of a name call their images; earlier versions did not say it."""
    found = set()
    try:
        with np.load(folder / f"{name}.npz") as saved:
            found.add(str(saved["image"]))
    except Exception:  # none there, or damaged in whatever way
        pass
    try:
        with Image.open(folder / f"{name}.png", formats=("PNG",)) as picture:
            found.add(picture.info["image"])
    except Exception:
        pass
    return found


def keep_images(images: tuple[Path, ...], targets: list[Path]) -> None:
    """Raise AttrinetError, before anything is written, where a file to write is one of the images."""
    given = {path.resolve() for path in images}
    for target in targets:
        if target.resolve() in given:
            raise AttrinetError(f"{target}: is one of the images, and would be overwritten; choose another folder with "
                                "--out")


def save_npz(path: Path, out: AdditiveExplanation, shown: list[int], image: str) -> None:
    names = ("probabilities", "logits", "attribution", "counterfactual", "contributions")
    arrays = {k: getattr(out, k)[0].cpu().numpy()[shown] for k in names if hasattr(out, k)}
    arrays |= {"image": np.array(image), "findings": np.array(out.findings)[shown],
               "bias": out.bias.cpu().numpy()[shown], "thresholds": out.thresholds.cpu().numpy()[shown]}
    write_atomically(path, lambda part: np.savez_compressed(part, **arrays))


def line(path: Path, name: str, out: AdditiveExplanation, shown: list[int]) -> str:
    """One JSON object an image, so that the output can be piped on."""
    return json.dumps({
        "image": str(path), "name": name,
        **{out.findings[c]: {"probability": round(float(out.probabilities[0, c]), 4),
                             "threshold": round(float(out.thresholds[c]), 4), "called": bool(out.called[0, c])}
           for c in shown},
    }, ensure_ascii=False)
