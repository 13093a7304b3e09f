"""`prepare`: read every image of a Source once, in parallel, into a Store; a kill at any moment loses nothing."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import partial as bound
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from attrinet.data.images import INTENSITIES, fit
from attrinet.data.manifest import check
from attrinet.data.source import SPLITS, Source
from attrinet.data.store import FORMAT, TABLES, WORKING_FILES, Store
from attrinet.errors import AttrinetError
from attrinet.files import cannot_write, checksum, held, write_atomically, write_json
from attrinet.processes import pool

CHUNK = 16  # images a task; also what a kill makes the next run read again, a worker
TODO, DONE, FAILED = 0, 1, 2
Task = tuple[np.ndarray, list[str]]  # rows, and what stands in their column `source`
Outcome = tuple[np.ndarray, dict[int, str]]  # rows, and the errors of those that could not be read
Reader = Callable[[str], np.ndarray]


def prepare(
    source: Source, out: str | Path, size: int, *, keep_aspect: bool = False, intensity: str | None = None,
    workers: int = 1, progress: bool = True,
) -> Store:
    """Read, resize and grey-map all images of `source` into the store folder `out`; returns the store.

    size: pixels a side. intensity: see images.to_uint8; None takes the source's. workers: processes.
    Works in `out`.partial, which a later call with the same arguments takes up where this one ended, and renames it
    when complete. Called again on a finished store it does nothing. Unreadable images, and those of one value, are left
    out, counted as unreadable, and listed with the reason in excluded.csv, after source.left_out; a call that takes up
    an unfinished store tries them once more.

    Raises AttrinetError for a broken source, a store of other data or options, a file or a mounted disk at `out`, a
    full disk, another process preparing the same folder, or when no image could be read.
    """
    check(source)
    out, intensity = Path(out), intensity or source.intensity
    if intensity not in INTENSITIES:
        raise AttrinetError(f"intensity={intensity!r}: choose one of {', '.join(INTENSITIES)}")
    if out.name in ("", ".."):
        raise AttrinetError(f"--out {out}: name a folder to make; it is made beside its place and put there when it is "
                            "whole")
    if out.is_symlink():
        out = out.resolve()  # what the link leads to is made; a link could not be replaced
    if out.is_file() or os.path.ismount(out):
        raise AttrinetError(f"--out {out}: is a {'file' if out.is_file() else 'mounted disk; name a folder on it'}")
    if size < 1 or workers < 1:
        raise AttrinetError(f"size={size}, workers={workers}: must be 1 or more")
    recipe = {
        "adapter": source.name, "findings": list(source.findings), "size": size, "keep_aspect": keep_aspect,
        "intensity": intensity, "options": dict(source.options), "source": fingerprint(source),
    }
    if (out / "meta.json").exists():
        store = Store.open(out)
        check_recipe(out, store.meta["recipe"], recipe)
        return store
    if out.exists() and any(out.iterdir()):
        raise AttrinetError(f"{out}: exists and is no store; name another folder with --out")
    partial = out.with_name(out.name + ".partial")
    with held(partial, "is preparing this store"):
        if (partial / "meta.json").exists():
            check_recipe(partial, json.loads((partial / "meta.json").read_text())["recipe"], recipe)
        else:
            images, done = begin(partial, recipe, len(source.manifest))
            if len(images) == len(done):  # else the gaps were closed already
                done[done == FAILED] = TODO  # what could not be read before may have been mended
                try:
                    read_all(source, partial, done, keep_aspect, intensity, workers, progress)
                except OSError as error:  # of the source's files none comes out of it
                    raise cannot_write(partial, error) from error
            finish(source, partial, images, done, recipe)
        for name in (*WORKING_FILES, ".lock"):
            (partial / name).unlink(missing_ok=True)
        if out.exists():
            out.rmdir()
        os.replace(partial, out)
    return Store.open(out)


def fingerprint(source: Source) -> str:
    """Changes when any row of the manifest or the annotations does."""
    digest = hashlib.blake2b(digest_size=16)
    for frame in (source.manifest, source.annotations):
        digest.update(frame.to_csv(index=False).encode())
    return digest.hexdigest()


def check_recipe(where: Path, before: dict, now: dict) -> None:
    now = json.loads(json.dumps(now))
    differ = [f"{name}: {there.get(name)} there, {value} asked for"
              for there, asked in ((before, now), (before.get("options", {}), now["options"]))
              for name, value in asked.items() if there.get(name) != value and name not in ("options", "source")
              and not (name == "patient" and name not in there)]  # which earlier versions did not say
    if not differ and before.get("source") != now["source"]:
        differ.append("other labels, annotations or files")
    if differ:
        raise AttrinetError(f"{where}: holds a store made of other data or with other options ({'; '.join(differ)}); "
                            "name another folder with --out, or delete it")


def begin(partial: Path, recipe: dict, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The images and the state of every row, on disk: made new, or as an earlier call left them."""
    recipe_file = partial / "recipe.json"
    if recipe_file.exists():
        try:
            check_recipe(partial, json.loads(recipe_file.read_text()), recipe)
            for name in ("images.npy", "done.npy"):
                np.load(partial / name, mmap_mode="r")  # for writing, a file cut short would be filled up with zeros
            images, done = (np.load(partial / name, mmap_mode="r+") for name in ("images.npy", "done.npy"))
        except (OSError, ValueError, AttributeError) as error:
            raise AttrinetError(f"{partial}: what an earlier call left there is damaged ({error}); delete this folder "
                                "and run the same command again") from error
        if done.shape != (count,) or images.shape != (len(images), recipe["size"], recipe["size"]) \
                or len(images) not in (count, int((done == DONE).sum())):
            raise AttrinetError(f"{partial}: what an earlier call left there does not fit together; delete this folder "
                                "and run the same command again")
        return images, done
    try:
        for name, shape in (("images.npy", (count, recipe["size"], recipe["size"])), ("done.npy", (count,))):
            np.lib.format.open_memmap(partial / name, mode="w+", dtype=np.uint8, shape=shape)
            # a memory map into a hole would die by signal where the disk is full: take the room now
            with open(partial / name, "r+b") as file:
                os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
    except OSError as error:
        for name in ("images.npy", "done.npy"):
            (partial / name).unlink(missing_ok=True)
        raise AttrinetError(f"{partial}: cannot be written ({error.strerror}); the images need "
                            f"{count * recipe['size'] ** 2 / 1e9:.2f} GB") from error
    write_atomically(recipe_file, lambda path: path.write_text(json.dumps(recipe)))
    return np.load(partial / "images.npy", mmap_mode="r+"), np.load(partial / "done.npy", mmap_mode="r+")


def read_all(
    source: Source, partial: Path, done: np.ndarray, keep_aspect: bool, intensity: str, workers: int, progress: bool
) -> None:
    """Fill the rows that are not done. A row is marked only after its pixels and its error are written."""
    todo = np.flatnonzero(done == TODO)
    chunks = [todo[i : i + CHUNK] for i in range(0, len(todo), CHUNK)]
    sources = source.manifest["source"].to_numpy()
    # of images that are prepared already all are taken, also those without a tag
    read = source.read if source.file_preprocessing else bound(read_varied, source.read)
    setup = (read, str(partial / "images.npy"), keep_aspect, intensity)
    bar = tqdm(total=len(done), initial=len(done) - len(todo), unit="image", desc=f"preparing {source.name}",
               disable=not progress, smoothing=0.05, dynamic_ncols=True)
    with open(partial / "errors.jsonl", "a") as errors, bar:
        errors.write("\n")  # a kill may have cut the last line short
        for rows, messages in results(setup, [(rows, sources[rows].tolist()) for rows in chunks], workers):
            for row, message in messages.items():
                errors.write(json.dumps([int(row), message]) + "\n")
            errors.flush()
            done[rows] = [FAILED if row in messages else DONE for row in rows]
            bar.update(len(rows))


def read_varied(read: Reader, name: str) -> np.ndarray:
    """What read gives. Raises AttrinetError for an image that shows nothing."""
    image = read(name)
    if image.min() == image.max():
        raise AttrinetError(f"{name}: all pixels have one value, {image.flat[0]:g}")
    return image


def results(setup: tuple[Reader, str, bool, str], tasks: list[Task], workers: int) -> Iterator[Outcome]:
    """(rows, errors by row) of every task as it ends; a bounded number of tasks is under way."""
    if workers == 1 or len(tasks) < 2:
        _start_worker(*setup)
        yield from map(_read_chunk, tasks)
        return
    with pool(workers, _start_worker, setup) as processes:
        waiting = iter(tasks)
        pending: set[Future[Outcome]] = set()
        while True:
            room = islice(waiting, 4 * workers - len(pending))
            pending |= {processes.submit(_read_chunk, task) for task in room}
            if not pending:
                return
            finished, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in finished:
                yield future.result()


_worker: tuple = ()


def _start_worker(read: Reader, images: str, keep_aspect: bool, intensity: str) -> None:
    global _worker  # one assignment when the process starts; tasks then carry only row numbers
    _worker = (read, np.load(images, mmap_mode="r+"), keep_aspect, intensity)


def _read_chunk(task: Task) -> Outcome:
    read, images, keep_aspect, intensity = _worker
    messages = {}
    for row, name in zip(*task, strict=True):
        try:
            images[row] = fit(read(name), images.shape[1], intensity, keep_aspect)
        except AttrinetError as error:
            messages[int(row)] = str(error)
        except Exception as error:  # one bad file among 200,000 must not end the work
            messages[int(row)] = f"{name}: {type(error).__name__}: {error}"
    return task[0], messages


def finish(source: Source, partial: Path, images: np.ndarray, done: np.ndarray, recipe: dict) -> None:
    """Close the gaps of unreadable images and write the tables and meta.json into the working folder."""
    keep = np.asarray(done) == DONE
    failed = {row: message for row, message in _errors(partial / "errors.jsonl") if done[row] == FAILED}
    if not keep.any():
        first = next(iter(failed.values()))
        raise AttrinetError(f"{partial}: none of {len(done)} images could be read; the first: {first}")
    manifest = source.manifest[keep].reset_index(drop=True)
    annotations = source.annotations[source.annotations["id"].isin(set(manifest["id"]))].reset_index(drop=True)
    try:
        if not keep.all() and len(images) == len(done):
            _close_gaps(partial, images, np.flatnonzero(keep))
        manifest.to_parquet(partial / "manifest.parquet", index=False)
        annotations.to_parquet(partial / "annotations.parquet", index=False)
        with open(partial / "excluded.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "source", "reason"])
            writer.writerows((name, "", reason) for name, reason in source.left_out)
            names = source.manifest[["id", "source"]].to_numpy()
            writer.writerows([*names[row], message] for row, message in sorted(failed.items()))
        excluded = Counter(source.excluded) + Counter({"unreadable": len(failed)})
        meta = {
            "format": FORMAT, **{k: recipe[k] for k in ("adapter", "findings", "size", "keep_aspect", "intensity")},
            **(source.file_preprocessing or {}),
            "options": recipe["options"], "images": len(manifest), "counts": counts(manifest, source.findings),
            "annotated": annotations.groupby("finding")["id"].nunique().to_dict(), "excluded": dict(excluded),
            "checksum": checksum(partial / "images.npy"),
            "tables": {name: checksum(partial / name) for name in TABLES}, "recipe": recipe,
        }
        write_json(partial / "meta.json", meta)
    except OSError as error:
        raise cannot_write(partial, error) from error


def counts(manifest: pd.DataFrame, findings: tuple[str, ...]) -> dict:
    """Images and patients of every split, and of every finding how many are positive, negative, unknown."""
    out = {}
    for split in SPLITS:
        part = manifest[manifest["split"] == split]
        labels = {
            f: {"positive": int((part[f] == 1).sum()), "negative": int((part[f] == 0).sum()),
                "unknown": int(part[f].isna().sum())}
            for f in findings
        }
        out[split] = {"images": len(part), "patients": int(part["patient"].nunique()), "findings": labels}
    return out


def _close_gaps(partial: Path, images: np.ndarray, rows: np.ndarray) -> None:
    """Copy the good rows to a new file, a block at a time, and put it in the place of the old."""
    new = partial / "closed.npy"
    target = np.lib.format.open_memmap(new, mode="w+", dtype=np.uint8, shape=(len(rows), *images.shape[1:]))
    with open(new, "r+b") as file:
        os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
    for start in range(0, len(rows), 1024):
        target[start : start + 1024] = images[rows[start : start + 1024]]
    target.flush()
    os.replace(new, partial / "images.npy")


def _errors(path: Path) -> Iterator[tuple[int, str]]:
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            row, message = json.loads(line)
        except ValueError:
            continue  # cut short by a kill: its row is not marked and was read again
        yield row, message
