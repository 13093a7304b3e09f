"""How fast are files made into a store, with how much memory, and what does a kill cost?

Draws grey 8-bit PNG files of 1024×1024 pixels, as ChestX-ray14 has them, and prepares them in processes of its own.
Memory is summed over the whole process tree: "held" is memory of the processes' own, "with files" adds the pages of the
store and of libraries that they have mapped, shared pages counted once.

    python benchmarks/prepare.py --images 240 --workers 1 2
"""

import argparse
import dataclasses
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from attrinet.data.images import read_grey
from attrinet.data.prepare import CHUNK, prepare
from attrinet.data.store import Store
from attrinet.data.table import table_source
from attrinet.provenance import provenance

SIDE = 1024


def draw(folder: Path, count: int, different: int = 24) -> None:
    """Smooth shapes and grain: files of the size and the decoding time of radiographs. Links stand for repetitions."""
    (folder / "png").mkdir()
    random = np.random.default_rng(0)
    for k in range(count):
        path = folder / "png" / f"{k:05d}.png"
        if k >= different:
            os.link(folder / "png" / f"{k % different:05d}.png", path)
            continue
        coarse = Image.fromarray(random.integers(20, 230, (9, 9), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float32)
        grain = random.normal(0, 1.5, (SIDE, SIDE))
        Image.fromarray((smooth + grain).round().clip(0, 255).astype(np.uint8)).save(path)
    pd.DataFrame({"image": [f"{k:05d}.png" for k in range(count)], "patient": range(count),
                  "Edema": [k % 2 for k in range(count)]}).to_csv(folder / "labels.csv", index=False)


def tree(process: int) -> list[int]:
    """A process and all that descend from it."""
    try:
        tasks = Path(f"/proc/{process}/task").iterdir()
        children = [child for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []
    return [process, *(p for child in children for p in tree(int(child)))]


def memory(process: int) -> np.ndarray:
    """(held, with files) in MB, of a process tree now."""
    total = np.zeros(2)
    for each in tree(process):
        try:
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()[1:]
        except OSError:
            continue  # it has just ended
        kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        total += np.array([kilobytes["Pss_Anon"], kilobytes["Pss"]]) / 1000
    return total


def run(folder: Path, out: str, size: int, workers: int, stop_at: int = 0) -> tuple[float, np.ndarray]:
    """Prepare in a process of its own → images a second once its processes have started, peak of memory().

    stop_at: it gets no further than so many images (a multiple of CHUNK), and is killed when they are done.
    """
    peak, marks, seen = np.zeros(2), folder / f"{out}.partial" / "done.npy", []
    arguments = [folder, out, str(size), str(workers), str(stop_at)]
    process = subprocess.Popen([sys.executable, __file__, "--child", *arguments])
    while process.poll() is None:
        peak = np.maximum(peak, memory(process.pid))
        if marks.with_name("recipe.json").exists():
            try:
                done = int(np.load(marks).sum())
            except (OSError, ValueError):
                continue  # it has just been put away
            if done and (not seen or done > seen[-1][1]):
                seen.append((time.perf_counter(), done))
            if stop_at and done >= stop_at:
                process.send_signal(signal.SIGKILL)
        time.sleep(0.02)
    assert process.returncode == (-signal.SIGKILL if stop_at else 0)
    if len(seen) < 2:
        return float("nan"), peak
    return (seen[-1][1] - seen[0][1]) / (seen[-1][0] - seen[0][0]), peak


@dataclasses.dataclass(frozen=True)
class ReaderThatHangs:
    """Reads the first `count` files; at the others it waits for the kill, however fast or busy the machine."""

    count: int

    def __call__(self, path: str) -> np.ndarray:
        if int(Path(path).stem) >= self.count:
            time.sleep(3600)
        return read_grey(path)


def child(folder: str, out: str, size: str, workers: str, stop_at: str) -> None:
    source = table_source(Path(folder) / "labels.csv", Path(folder) / "png")
    if int(stop_at):
        source = dataclasses.replace(source, read=ReaderThatHangs(int(stop_at)))
    start = time.perf_counter()
    prepare(source, Path(folder) / out, int(size), workers=int(workers), progress=False)
    (Path(folder) / f"{out}.seconds").write_text(str(time.perf_counter() - start))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=240, help=f"at least {2 * CHUNK}")
    parser.add_argument("--size", type=int, default=320, help="pixels a side of the store")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.images < 2 * CHUNK:
        parser.error(f"--images {arguments.images}: use {2 * CHUNK} or more; it is killed with half of them done")
    print(provenance())
    print(f"load average before: {os.getloadavg()}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder, arguments.images)
        mean = statistics.mean(path.stat().st_size for path in (folder / "png").iterdir())
        print(f"{arguments.images} PNG files of {SIDE}×{SIDE}, {mean / 1e3:.0f} kB each, to {arguments.size}×"
              f"{arguments.size}; rates from the first finished images on, without the start of processes")
        checksums = set()
        for workers in arguments.workers:
            rates, peaks = [], []
            for repeat in range(arguments.repeats):
                rate, peak = run(folder, f"store-{workers}-{repeat}", arguments.size, workers)
                rates.append(rate)
                peaks.append(peak)
                checksums.add(Store.open(folder / f"store-{workers}-{repeat}").meta["checksum"])
            held, mapped = np.max(peaks, axis=0)
            print(f"{workers} worker(s): {statistics.median(rates):.1f} images/s (from {min(rates):.1f} to "
                  f"{max(rates):.1f}, {len(rates)} repeats), peak memory of all processes {held:.0f} MB held, "
                  f"{mapped:.0f} MB with files", flush=True)
        workers = max(arguments.workers)
        run(folder, "killed", arguments.size, workers, stop_at=arguments.images // 2 // CHUNK * CHUNK)
        done = int(np.load(folder / "killed.partial" / "done.npy").sum())
        time.sleep(1.5)  # its workers see that it is gone
        run(folder, "killed", arguments.size, workers)
        store = Store.open(folder / "killed")
        store.verify()
        checksums.add(store.meta["checksum"])
        print(f"killed (SIGKILL, {workers} workers) with {done} of {arguments.images} images done; the next call read "
              f"the other {arguments.images - done}: {len(store)} images, checksum "
              f"{'the same as' if len(checksums) == 1 else 'NOT that'} of every undisturbed run")
        run(folder, "killed", arguments.size, workers)
        again = float((folder / "killed.seconds").read_text())
        print(f"called once more on the finished store: {again * 1e3:.0f} ms")
    print(f"load average after: {os.getloadavg()}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main()
