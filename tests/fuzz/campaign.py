"""Fuzzing at length: so many inputs against every reader, each known by its number.

    python tests/fuzz/campaign.py --inputs 100000 --seed 0 --out docs/fuzzing.json
    python tests/fuzz/campaign.py --target dicom --only 12345      # one input again

An input fails by a crash of the process, more than SECONDS of processor time, more than MEMORY above what the process
had, or an answer that is not the package's own (fuzz_targets). Exit code 1 where anything failed.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

SECONDS, MEMORY = 2.0, 1 << 30
STUCK = 120  # seconds without an answer after which a process is ended from outside Python
NAMES = ["image", "dicom", "manifest", "annotations", "store", "model", "weights", "config", "command"]
SHOWN = 20  # failures kept a target


def memory(field: str) -> int:
    """VmRSS or VmHWM, bytes."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(field))


def too_slow(signum, frame):
    raise TimeoutError(f"more than {SECONDS} s of processor time")


def work(name: str, numbers: range, seed: int, say: Path) -> None:
    """Attack in this process; after every input `say` holds the result so far, in case the next one kills it."""
    import torch
    from fuzz_targets import TARGETS, Bug

    torch.set_num_threads(1)
    target = TARGETS[name]
    signal.signal(signal.SIGPROF, too_slow)
    state = {"done": 0, "taken": 0, "slowest": 0.0, "memory": 0, "failures": []}
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        folder = Path(folder)
        seeds = target.prepare(folder)
        with contextlib.suppress(Bug):  # imports are not the inputs' time and memory
            target.attack(folder, seeds, Random("warm-up"))
        place, last = folder.parent / f"{folder.name}.place", time.monotonic()
        for number in numbers:
            place.write_text(str(number))
            Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
            before, start = memory("VmRSS"), time.process_time()
            faulthandler.dump_traceback_later(STUCK, exit=True)
            failure = None
            try:
                signal.setitimer(signal.ITIMER_PROF, SECONDS)
                state["taken"] += bool(target.attack(folder, seeds, Random(f"{seed}/{name}/{number}")))
            except Bug as bug:
                failure = str(bug)
            except (TimeoutError, MemoryError) as error:
                failure = str(error) or "MemoryError"
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
            took, grown = time.process_time() - start, memory("VmHWM") - before
            if took > SECONDS:
                failure = failure or f"{took:.1f} s of processor time"
            if grown > MEMORY:
                failure = failure or f"{grown / 2**30:.2f} GiB"
            state |= {"done": state["done"] + 1, "slowest": max(state["slowest"], took),
                      "memory": max(state["memory"], grown), "last": number}
            if failure:
                state["failures"].append([number, failure[:400]])
            if failure or time.monotonic() - last > 2 or number == numbers[-1]:
                say.with_suffix(".tmp").write_text(json.dumps(state))
                os.replace(say.with_suffix(".tmp"), say)
                last = time.monotonic()
        place.unlink()


def attack(name: str, numbers: range, seed: int, say: Path) -> dict:
    """Attack in processes of their own; a dead one is a failure of its input, and the next goes on behind it."""
    total = {"target": name, "inputs": 0, "taken": 0, "slowest_s": 0.0, "memory_mib": 0, "failures": []}
    first = numbers.start
    while first < numbers.stop:
        say.unlink(missing_ok=True)
        command = [sys.executable, __file__, "--target", name, "--first", str(first), "--inputs",
                   str(numbers.stop - first), "--seed", str(seed), "--child", str(say)]
        code = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}).returncode
        state = json.loads(say.read_text()) if say.exists() else {"done": 0, "taken": 0, "slowest": 0, "memory": 0,
                                                                  "failures": [], "last": first - 1}
        total["inputs"] += state["done"]
        total["taken"] += state["taken"]
        total["slowest_s"] = round(max(total["slowest_s"], state["slowest"]), 2)
        total["memory_mib"] = max(total["memory_mib"], state["memory"] >> 20)
        total["failures"] += state["failures"]
        if code == 0:
            break
        # behind the last report at least, so that it always goes on
        total["failures"].append([state["last"] + 1, f"the process ended with code {code} at or after this input"])
        first = state["last"] + 2
        if len(total["failures"]) > SHOWN:
            break
    return total


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", action="append", help="image, dicom, …; all if left out")
    parser.add_argument("--only", type=int, help="one input, with its traceback")
    parser.add_argument("--out", type=Path, help="JSON to write")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        work(options.target[0], range(options.first, options.first + options.inputs), options.seed, options.child)
        return 0
    names = options.target or NAMES
    if options.only is not None:
        from fuzz_targets import TARGETS

        with tempfile.TemporaryDirectory() as folder:
            target = TARGETS[names[0]]
            seeds = target.prepare(Path(folder))
            taken = target.attack(Path(folder), seeds, Random(f"{options.seed}/{names[0]}/{options.only}"))
            print("taken" if taken else "refused")
        return 0
    from attrinet.provenance import provenance

    results = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            started = time.monotonic()
            numbers = range(options.first, options.first + options.inputs)
            results.append(attack(name, numbers, options.seed, Path(folder) / "state.json"))
            results[-1]["commit"] = provenance()["commit"]  # results of several calls may stand in one file
            print(f"{name}: {results[-1]['inputs']} inputs in {time.monotonic() - started:.0f} s, "
                  f"{results[-1]['taken']} taken, slowest {results[-1]['slowest_s']} s, "
                  f"memory {results[-1]['memory_mib']} MiB, {len(results[-1]['failures'])} failures", flush=True)
            for number, failure in results[-1]["failures"][:SHOWN]:
                print(f"  {number}: {failure}", flush=True)
            if options.out:  # after every target: a long run that is stopped leaves what it found
                known = json.loads(options.out.read_text())["results"] if options.out.exists() else []
                kept = [r for r in known if r["target"] not in {r["target"] for r in results}]
                record = {"seed": options.seed, "provenance": provenance(), "results": kept + results}
                options.out.write_text(json.dumps(record, indent=1) + "\n")
    return int(any(result["failures"] for result in results))


if __name__ == "__main__":
    sys.exit(main())
