"""What is attacked: every reader of files and values that a user may be given by somebody else.

A target writes one hostile input into a folder of its own and reads it as the package would. It passes where the
package takes the input, or refuses it by its own error with a message that names the input.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from types import SimpleNamespace

import click
import numpy as np
import pandas as pd
import pydicom
import torch
from fuzz_mutate import WORDS, mutated, mutated_text
from PIL import Image
from pydicom import uid
from pydicom.data import get_testdata_file
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from safetensors.torch import save_file
from torch import nn

from attrinet.baselines.backbone import Family, load_pretrained
from attrinet.cli import VERBS, cli
from attrinet.data import annotations as notes
from attrinet.data.images import image_size, read_image
from attrinet.data.phantom import phantom_source
from attrinet.data.prepare import prepare
from attrinet.data.store import Store
from attrinet.data.table import table_source
from attrinet.data.table_lesions import box_rows
from attrinet.data.table_names import Names
from attrinet.errors import AttrinetError
from attrinet.folder import load, save_model
from attrinet.nets.attrinet import AttriNet
from attrinet.train.config import Config, dump_config, flat, load_config

RAMP = np.linspace(0, 255, 20 * 16).reshape(20, 16).astype(np.uint8)


class Bug(Exception):
    """The package answered an input otherwise than it promises."""


@dataclass(frozen=True)
class Target:
    """prepare(folder): the files and seeds that inputs are made of, once. attack(folder, seeds, random): one input;
    returns whether it was taken (else refused), raises Bug for any other answer."""

    name: str
    prepare: Callable[[Path], object]
    attack: Callable[[Path, object, Random], bool]


@contextlib.contextmanager
def refused_by_name(*names: str):
    """Only AttrinetError may come out, and it names one of these; .taken says whether nothing came."""
    outcome = type("Outcome", (), {"taken": True})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield outcome
    except AttrinetError as error:
        outcome.taken = False
        message = str(error)
        if not any(name in message for name in names):
            raise Bug(f"the message names none of {names}: {message!r}") from error
        if not message.strip():
            raise Bug("an empty message") from error
    except (Bug, KeyboardInterrupt, MemoryError):
        raise
    except Exception as error:
        raise Bug(f"{type(error).__name__}: {error}") from error


# ---- images


def picture_seeds(folder: Path) -> list[bytes]:
    seeds = []

    def add(image: Image.Image, form: str, **options) -> None:
        buffer = io.BytesIO()
        image.save(buffer, form, **options)
        seeds.append(buffer.getvalue())

    grey, colour = Image.fromarray(RAMP), Image.fromarray(np.stack([RAMP, RAMP[::-1], RAMP], -1))
    for form in ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM", "JPEG2000"):
        add(grey, form)
        add(colour, form)
    add(Image.fromarray(RAMP.astype(np.uint16) * 256), "PNG")
    add(Image.fromarray(RAMP.astype(np.uint16) * 256), "TIFF", compression="tiff_deflate")
    add(Image.fromarray(RAMP.astype(np.float32)), "TIFF", compression="tiff_lzw")
    add(grey.convert("P"), "PNG")
    add(grey.convert("LA"), "PNG")
    add(grey.convert("1"), "TIFF", compression="group4")
    add(colour.convert("CMYK"), "JPEG")
    add(colour, "JPEG", progressive=True)
    return seeds


def dicom_seeds(folder: Path) -> list[bytes]:
    seeds = []

    def add(pixels: np.ndarray, photometric: str = "MONOCHROME2", compress=None, jpeg: str | None = None, **tags):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = meta.MediaStorageSOPInstanceUID = "1.2.3"
        data = FileDataset("x", {}, file_meta=meta, preamble=b"\0" * 128)
        data.SOPClassUID, data.SOPInstanceUID = "1.2.3", "1.2.3"
        data.Rows, data.Columns = pixels.shape[:2]
        data.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
        data.PhotometricInterpretation = photometric
        data.PixelRepresentation, data.BitsAllocated = 0, 8 * pixels.itemsize
        data.BitsStored = 8 * pixels.itemsize
        data.HighBit = data.BitsStored - 1
        if pixels.ndim == 3:
            data.PlanarConfiguration = 0
        data.PixelData = pixels.tobytes()
        if compress:
            data.compress(compress)
        if jpeg:
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, jpeg)
            data.PixelData = encapsulate([buffer.getvalue()])
            data.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit if jpeg == "JPEG" else uid.JPEG2000Lossless
        for name, value in tags.items():
            setattr(data, name, value)
        buffer = io.BytesIO()
        data.save_as(buffer, enforce_file_format=True)
        seeds.append(buffer.getvalue())

    deep = RAMP.astype(np.uint16) * 16
    add(deep, RescaleSlope="2", RescaleIntercept="-100", WindowCenter=["300", "200"], WindowWidth=["500", "100"])
    add(RAMP, "MONOCHROME1", PixelPaddingValue=0)
    add(np.stack([RAMP] * 3, -1), "RGB")
    add(deep, compress=uid.RLELossless)
    add(RAMP, jpeg="JPEG")
    add(RAMP, jpeg="JPEG2000")
    for name in ("MR_small_RLE.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm",
                 "JPGLosslessP14SV1_1s_1f_8b.dcm"):
        path = get_testdata_file(name, download=False)
        if path:
            data = pydicom.dcmread(path)
            for tag in list(data.keys()):  # small files are cut where it matters
                if tag.group not in (0x0002, 0x0008, 0x0028, 0x7FE0):
                    del data[tag]
            buffer = io.BytesIO()
            data.save_as(buffer)
            seeds.append(buffer.getvalue())
    return seeds


def attack_image(folder: Path, seeds: list[bytes], random: Random) -> bool:
    path = folder / "study.img"
    path.write_bytes(mutated(seeds, random))
    with refused_by_name(str(path)) as outcome:
        image = read_image(path, size=32, keep_aspect=random.random() < 0.3)
        if image.shape != (1, 1, 32, 32) or not np.isfinite(image.numpy()).all() or np.abs(image.numpy()).max() > 1:
            raise Bug(f"made an image of shape {tuple(image.shape)} outside [-1, 1]")
    with refused_by_name(str(path)):
        image_size(path)
    return outcome.taken


# ---- label tables and annotations

LABELS = """image,patient,split,view,Edema,Effusion
a.png,1,train,PA,1,0
b.png,1,train,PA,0,-1
c.png,2,valid,AP,,1
d.png,3,test,PA,1,1
e.png,4,test,LL,0.0,1.0
"""
BOXES = """image,finding,x,y,w,h,source_width,source_height
a.png,Edema,1,2,5,6,,
b,Effusion,0.5,0.5,90,90,100,100
d.png,Edema,3,3,4,4,16,20
"""
FINDINGS = ("Edema", "Effusion")
MANIFEST = pd.DataFrame({"id": list("abcde"), **{f: pd.array([1, 0, None, 1, 1], "Int8") for f in FINDINGS}})


def tables(folder: Path) -> list[str]:
    (folder / "png").mkdir()
    for name in "abcde":
        Image.fromarray(RAMP).save(folder / "png" / f"{name}.png")
    (folder / "labels.csv").write_text(LABELS)
    pd.read_csv(io.StringIO(LABELS)).to_parquet(folder / "seed.parquet")
    return [LABELS, LABELS.replace(",", ";"), LABELS.replace("\n", "\r\n"), LABELS.replace("Edema", '"Ede""ma"')]


def attack_manifest(folder: Path, seeds: list[str], random: Random) -> bool:
    """A table of labels, CSV or Parquet, with options that go with it or do not."""
    if random.random() < 0.15:
        path = folder / "labels.parquet"
        path.write_bytes(mutated([(folder / "seed.parquet").read_bytes()], random))
    else:
        path = folder / "hostile.csv"
        path.write_bytes(mutated_text(seeds, random).encode(errors="replace"))
    options = {
        "patient_column": random.choice(["patient", "patient", None, "Patient"]),
        "split_column": random.choice([None, None, "split"]), "view_column": random.choice([None, "view"]),
        "uncertain": random.choice(["zeros", "ones", "ignore", "nines", {"Edema": "ones"}]),
        "findings": random.choice([(), (), ("Edema",), ("Edema", "Effusion")]),
    }
    with refused_by_name(str(path), "uncertain=", str(folder / "png")) as outcome:
        table_source(path, folder / "png", **options)
    return outcome.taken


def attack_annotations(folder: Path, seeds: list[str], random: Random) -> bool:
    """A table of boxes, or a run-length mask, up to the raster that a model is guided by."""
    if random.random() < 0.7:
        path = folder / "boxes.csv"
        path.write_bytes(mutated_text([BOXES], random).encode(errors="replace"))
        with refused_by_name(str(path)) as outcome:
            manifest = MANIFEST.assign(source=str(folder / "png" / "a.png"))
            called = [f"{id}.png" for id in manifest["id"]]
            table = notes.table(box_rows(path, manifest, Names(called, called), FINDINGS))
            for _, rows in table.groupby("id"):
                notes.rasterise(rows, 16, random.random() < 0.5)
        return outcome.taken
    width, height = random.choice([(16, 20), (1, 1), (0, 0), (3, 1000), (10**9, 10**9), (-4, 4)])
    text = mutated_text([notes.rle_row("a", "f", "0`2", 3, 4)["rle"], "o43d0`30O3", "", "0"], random)
    with refused_by_name("image-id") as outcome:
        notes.decode(text, width, height, "image-id")
    return outcome.taken


# ---- stores and model folders


def small_store(folder: Path) -> dict[str, bytes]:
    prepare(phantom_source(6, 32, seed=3), folder / "store", 32, progress=False)
    return {path.name: path.read_bytes() for path in (folder / "store").iterdir() if path.name != "excluded.csv"}


def _replaced(folder: Path, files: dict[str, bytes], random: Random) -> None:
    """All files as they were but one, which is hostile or gone."""
    for name, data in files.items():
        if (folder / name).exists() and (folder / name).stat().st_size == len(data) \
                and (folder / name).read_bytes() == data:
            continue
        (folder / name).write_bytes(data)
    name = random.choice(sorted(files))
    if random.random() < 0.02:
        (folder / name).unlink()
    elif name.endswith(".json") and random.random() < 0.7:
        (folder / name).write_bytes(mutated_text([files[name].decode()], random).encode(errors="replace"))
    else:
        (folder / name).write_bytes(mutated([files[name]], random))


def attack_store(folder: Path, files: dict[str, bytes], random: Random) -> bool:
    """A store that somebody hands on: open it, read all its tables, an image and a mask, and verify it."""
    path = folder / "store"
    _replaced(path, files, random)
    with refused_by_name(str(path)) as outcome:
        store = Store.open(path)
        if store.labels.shape != (len(store), len(store.findings)) or len(store.patients) != len(store):
            raise Bug("labels do not fit")
        if len(store):
            store.batch([0])
            store.split("train")
            for c in range(len(store.findings)):
                store.mask(0, c)
        store.verify()
    return outcome.taken


def small_model(folder: Path) -> dict[str, bytes]:
    model = AttriNet(["a", "b"], 32, width=1, critic=False)
    save_model(model, folder / "model", thresholds={"a": 0.4, "b": 0.5},
               preprocessing={"intensity": "paper", "keep_aspect": False})
    files = {path.name: path.read_bytes() for path in (folder / "model").iterdir()}
    config = json.loads(files["config.json"])
    del config["weights"]  # else damaged weights would come no further than to their checksum
    return files | {"config.json": json.dumps(config).encode()}


def attack_model(folder: Path, files: dict[str, bytes], random: Random) -> bool:
    path = folder / "model"
    _replaced(path, files, random)
    with refused_by_name(str(path)) as outcome:
        load(path)
    return outcome.taken


def tiny_backbone() -> SimpleNamespace:
    """As much of a Backbone as weights are read into: a convolution, a norm, a head."""
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2))
    return SimpleNamespace(net=net, backbone="tiny", family=Family(None, gradcam="0", head="3"))


def weights_files(folder: Path) -> list[tuple[str, bytes]]:
    state, found = tiny_backbone().net.state_dict(), []
    state["0.weight"] = state["0.weight"].repeat(1, 3, 1, 1)
    for ending, save in (
        ("pt", torch.save), ("pt", partial(torch.save, _use_new_zipfile_serialization=False)),
        ("safetensors", save_file),
    ):
        save(state, folder / f"seed.{ending}")
        found.append((ending, (folder / f"seed.{ending}").read_bytes()))
    return found


def attack_weights(folder: Path, seeds: list[tuple[str, bytes]], random: Random) -> bool:
    """Pretrained weights from somebody else."""
    ending, data = random.choice(seeds)
    path = folder / f"weights.{ending}"
    path.write_bytes(mutated([data], random))
    with refused_by_name(str(path)) as outcome:
        load_pretrained(tiny_backbone(), path)
    return outcome.taken


# ---- configurations and the command line

KEYS = [key for key, _ in flat(Config())]
TYPED = ["0", "1", "-3", "1e-4", "0.5", "many", "[1,2]", "{a: 1}", "[0.8, 1.4]", "none", "attrinet", "resnet50", "null"]


def configurations(folder: Path) -> list[str]:
    own = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
    return [dump_config(Config()), *(path.read_text() for path in own)]


def attack_config(folder: Path, seeds: list[str], random: Random) -> bool:
    path = folder / "hostile.yaml"
    path.write_bytes(mutated_text(seeds, random).encode(errors="replace"))
    overrides = [
        random.choice(KEYS + list(WORDS)) + random.choice(["=", "=", "=", "", ".x="])
        + random.choice(TYPED + list(WORDS)) for _ in range(random.randrange(3))
    ]
    # a value out of its range is named by its option
    with refused_by_name(str(path), *filter(None, overrides), *map(repr, overrides), *KEYS) as outcome:
        load_config(path, overrides)
    return outcome.taken


def command_lines(folder: Path) -> dict[str, list]:
    for verb in VERBS:  # a first import may take seconds, which are not an input's
        cli.get_command(None, verb)
    small_store(folder)
    small_model(folder)
    tables(folder)
    (folder / "empty").mkdir()
    paths = ["store", "model", "labels.csv", "png", "png/a.png", "empty", "nowhere", "/dev/null", ".", "x" * 300]
    verbs = {
        "prepare table": ["--labels", "--images", "--findings", "--image-column", "--patient-column", "--split-column",
                          "--view-column", "--views", "--boxes", "--masks", "--uncertain", "--fractions", "--seed",
                          "--size", "--intensity"],
        "prepare phantom": ["--intensity"], "prepare verify": [], "prepare chexpert": ["--findings", "--views"],
        "prepare chestxray14": ["--findings", "--views"], "prepare vindr": ["--findings", "--policy"],
        "prepare shortcut": ["--finding", "--tag", "--place", "--positives", "--negatives"],
        "explain": ["--format", "--findings", "--device"], "global": ["--device"], "datasets": [],
        "evaluate": ["--where", "--split", "--device"], "report": ["--evaluation"],
        "import": ["--findings", "--image-size", "--which", "--intensity"],
    }
    return {"paths": paths, "verbs": verbs}


def attack_command(folder: Path, choices: dict, random: Random) -> bool:
    """A command line of known verbs and options with any values: done, or exit code 2 and one line that says why."""
    verb = random.choice(sorted(choices["verbs"]))
    values = [*choices["paths"], *WORDS, *TYPED]
    words = verb.split()
    positional = random.randrange(3) if "table" not in verb else 0
    words += [random.choice(choices["paths"] if random.random() < 0.8 else values) for _ in range(positional)]
    if verb == "prepare phantom":
        words += ["--n", "4", "--size", "32"]
    if verb == "prepare table" and random.random() < 0.8:
        words += ["--labels", "labels.csv", "--images", "png"]
    for _ in range(random.randrange(4)):
        if choices["verbs"][verb]:
            words += [random.choice(choices["verbs"][verb]), random.choice(values)]
    if verb.startswith(("prepare", "evaluate", "explain", "global", "import")) and verb != "prepare verify":
        words += ["--out", "nowhere/file/out" if random.random() < 0.9 else random.choice(values)]
    words = [word for word in words if "\0" not in word]  # no shell can pass it
    (folder / "nowhere").unlink(missing_ok=True)
    (folder / "nowhere").write_text("in the way of every --out")
    before = os.getcwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), \
                refused_by_name("") as outcome:
            try:
                cli.main(words, standalone_mode=False)
            except click.ClickException as error:
                if not error.format_message():
                    raise Bug(f"{words}: no message") from error
                return False
            except click.exceptions.Exit:
                return True
    except Bug as bug:
        raise Bug(f"attrinet {' '.join(words)}: {bug}") from bug
    finally:
        os.chdir(before)
    return outcome.taken


TARGETS = {t.name: t for t in (
    Target("image", picture_seeds, attack_image), Target("dicom", dicom_seeds, attack_image),
    Target("manifest", tables, attack_manifest), Target("annotations", tables, attack_annotations),
    Target("store", small_store, attack_store), Target("model", small_model, attack_model),
    Target("weights", weights_files, attack_weights),
    Target("config", configurations, attack_config), Target("command", command_lines, attack_command),
)}
