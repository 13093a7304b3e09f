"""What does it cost to open a store, and how many images a second does one core read from it out of the page cache?

Opening is measured on a store as large as ChestX-ray14, whose pixels are a hole in the file and whose tables are real.

    python benchmarks/store.py --size 320 64 --batch 8 64 256
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from attrinet.data import annotations
from attrinet.data.images import to_tensor
from attrinet.data.store import FORMAT, Store
from attrinet.provenance import provenance

FINDINGS = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion")

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--images", type=int, default=112_120, help="images of the store that is only opened")
parser.add_argument("--cached", type=int, default=4000, help="images of the store that is read")
parser.add_argument("--size", type=int, nargs="+", default=[320, 64], help="pixels a side")
parser.add_argument("--batch", type=int, nargs="+", default=[8, 64, 256])
parser.add_argument("--seconds", type=float, default=0.5, help="of a repeat")
parser.add_argument("--repeats", type=int, default=9)
arguments = parser.parse_args()


def make(folder: Path, count: int, size: int) -> Path:
    """A store whose images are a hole in the file."""
    folder.mkdir()
    names = [f"{k // 4:08d}_{k % 4:03d}" for k in range(count)]
    table = pd.DataFrame({"id": names, "source": [f"images/{name}.png" for name in names],
                          "patient": [name[:8] for name in names], "split": "train", "view": "PA"})
    for k, finding in enumerate(FINDINGS):
        table[finding] = pd.array(np.arange(count) % 7 == k, dtype="boolean").astype("Int8")
    table.to_parquet(folder / "manifest.parquet", index=False)
    annotations.table([]).to_parquet(folder / "annotations.parquet", index=False)
    with open(folder / "images.npy", "wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, size, size)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + count * size * size)
    facts = {"intensity": "paper", "keep_aspect": False, "checksum": ""}
    (folder / "meta.json").write_text(json.dumps({"format": FORMAT, "findings": FINDINGS, "size": size, **facts}))
    return folder


def figures(values: list[float], form: str) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:{form}} (from {low:{form}} to {high:{form}}, {len(values)} repeats)"


def milliseconds(function) -> list[float]:
    times = []
    for _ in range(arguments.repeats):
        start = time.perf_counter()
        function()
        times.append(1e3 * (time.perf_counter() - start))
    return times


def rate(read, count: int, batch: int) -> list[float]:
    """Images a second of `read(rows)` over shuffled rows, one value a repeat."""
    random, rates = np.random.default_rng(0), []
    for repeat in range(arguments.repeats + 1):
        rows, done, start = random.permutation(count), 0, time.perf_counter()
        while time.perf_counter() - start < arguments.seconds:
            read(np.take(rows, range(done, done + batch), mode="wrap"))
            done += batch
        if repeat:  # the first warms up
            rates.append(done / (time.perf_counter() - start))
    return rates


torch.set_num_threads(1)
print(provenance())
print(f"load average before: {os.getloadavg()}")
with tempfile.TemporaryDirectory() as folder:
    path = make(Path(folder) / "large", arguments.images, 320)
    room = os.stat(path / "images.npy")
    print(f"\n{arguments.images} images of 320×320: images.npy {room.st_size:,} bytes = {arguments.images} × 102,400 + "
          f"{room.st_size - arguments.images * 102_400}; {room.st_blocks * 512:,} bytes of it on disk (a sparse file); "
          f"manifest.parquet {os.stat(path / 'manifest.parquet').st_size:,} bytes")
    Store.open(path).manifest  # noqa: B018  the first imports Parquet's reader
    print(f"open:            {figures(milliseconds(lambda: Store.open(path)), '.2f')} ms")
    print(f"open + manifest: {figures(milliseconds(lambda: Store.open(path).manifest), '.1f')} ms")
    print(f"open + labels:   {figures(milliseconds(lambda: Store.open(path).labels), '.1f')} ms")
    for size in arguments.size:
        path = make(Path(folder) / str(size), arguments.cached, size)
        pixels = np.load(path / "images.npy", mmap_mode="r+")
        pixels[:] = np.random.default_rng(0).integers(0, 256, (size, size), dtype=np.uint8)
        store = Store.open(path)
        ways = {
            "uint8, store.images[rows]": lambda rows, store=store: store.images[rows],
            "float, store.batch(rows)": lambda rows, store=store: store.batch(rows),
            "float, plain tensor operations": lambda rows, store=store:
                torch.from_numpy(store.images[rows]).float().div_(127.5).sub_(1),
        }
        rows = np.arange(8)
        assert (store.batch(rows)[:, 0] == ways["float, plain tensor operations"](rows)).all()
        assert (store.batch(rows)[:, 0] == to_tensor(store.images[rows])).all()
        print(f"\n{size}×{size}, {arguments.cached} images in the page cache, one thread, images/s:")
        for batch in arguments.batch:
            for name, read in ways.items():
                rates = rate(read, arguments.cached, batch)
                print(f"  batch {batch:>4}  {name:<32}{figures(rates, ',.0f')}", flush=True)
print(f"\nload average after: {os.getloadavg()}")
