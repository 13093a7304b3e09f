"""Kills every long command with SIGKILL at random moments and compares what is left in the end.

    python tests/faults/nightly.py --kills 60 --seed 0 --out docs/faults.json
    python tests/faults/nightly.py --short                                      # one kill in every phase

A kill comes a random time after a random entry into a phase (validation, writing a checkpoint, …), from another
process. A killed command is given again, up to five times killed on the way; then it must end, and every file that it
leaves must be, byte for byte, that of a run that nobody disturbed. Only TensorBoard's event files hold times of day and
are not compared, nor is the time that explaining took. Exit code 1 where a file differs.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import re
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import click
import numpy as np
import pandas as pd
import torch
from PIL import Image

import attrinet.cli.evaluate
import attrinet.cli.explain
import attrinet.cli.explain_store
import attrinet.data.prepare
import attrinet.evaluation.bench
import attrinet.evaluation.evidence
import attrinet.evaluation.kept
import attrinet.export.bulk
import attrinet.export.shard
import attrinet.report.figures
import attrinet.train.run
from attrinet.cli import cli
from attrinet.data.images import to_uint8
from attrinet.data.phantom import FINDINGS, phantom
from attrinet.provenance import provenance
from attrinet.train import checkpoint, loop
from attrinet.train.steps import Steps

IMAGES, CHAIN, PATIENCE = 60, 5, 300  # pictures; kills before a run may end; seconds without a sign of life
TRAIN = ("data.store=store", "model.width=4", "run.batch_size=2", "schedule.steps=14", "schedule.critic_steps=2",
         "schedule.classifier_steps=2", "schedule.burst=4", "schedule.burst_first=2", "schedule.burst_every=5",
         "optimizer.lr=1e-3", "run.validate_every=3", "run.checkpoint_every=2", "run.log_every=2", "run.sample_every=7",
         "run.accelerator=cpu", "guidance.mode=mixed")


@dataclass(frozen=True)
class Job:
    """words(out): the command, told where to write; again: what is added when it is given again.

    phases: name → (module or class, function) whose calls are that phase. out: what to compare.
    """

    name: str
    words: Callable[[str], list[str]]
    phases: dict[str, tuple[object, str]]
    again: tuple[str, ...] = ()


JOBS = (
    Job("prepare", lambda out: ["prepare", "table", "--labels", "labels.csv", "--images", "png", "--masks", "masks",
                                "--size", "32", "--workers", "1", "--quiet", "--out", out],
        {"begin": (attrinet.data.prepare, "begin"), "read": (attrinet.data.prepare, "_read_chunk"),
         "finish": (attrinet.data.prepare, "finish"), "close gaps": (attrinet.data.prepare, "_close_gaps")}),
    Job("train", lambda out: ["train", "empty.yaml", *TRAIN, "--quiet", "--out", out],
        {"critic": (Steps, "critic"), "generator": (Steps, "generator"), "classifier": (Steps, "classifier"),
         "validation": (attrinet.train.run, "validate"), "checkpoint": (checkpoint, "save_checkpoint"),
         "best": (checkpoint, "replace_folder"), "masks": (loop, "save_masks")}, ("--resume",)),
    Job("evaluate", lambda out: ["evaluate", "run", "--draws", "200", "--quiet", "--out", out],
        {"predict": (attrinet.evaluation.bench, "predict"), "locate": (attrinet.evaluation.bench, "localise"),
         "save": (attrinet.evaluation.bench.Evaluation, "save")}),
    Job("evaluate-dear", lambda out: ["evaluate", "run", "--explainer", "integrated_gradients", "--limit", "4",
                                      "--draws", "20", "--quiet", "--out", out],
        {"explain": (attrinet.evaluation.evidence.Evidence, "_explain"),
         "keep": (attrinet.evaluation.kept.KeptMaps, "keep"),
         "save": (attrinet.evaluation.bench.Evaluation, "save")}),
    Job("explain", lambda out: ["explain", "run", *(f"png/{k}.png" for k in range(3)), "--format", "png,npz",
                                "--out", out],
        {"draw": (attrinet.report.figures, "explanation_figure"), "save": (attrinet.cli.explain, "save_npz")}),
    Job("explain-store", lambda out: ["explain-store", "run", "--split", "train", "--quiet", "--out", out],
        {"begin": (attrinet.export.bulk, "begin"), "shard": (attrinet.export.bulk, "write_shard"),
         "put": (attrinet.export.shard, "write_atomically")}),
)
attrinet.cli.explain_store.Bulk = partial(attrinet.export.bulk.Bulk, per_shard=5, batch=2)  # several shards


def announced(function, name: str, pipe: int):
    def call(*arguments, **options):
        os.write(pipe, f"+{name}\n".encode())
        try:
            return function(*arguments, **options)
        finally:
            os.write(pipe, f"-{name}\n".encode())
    return call


def start(job: Job, words: list[str], log: Path) -> tuple[int, int]:
    """The command in a process of its own; returns its number and a pipe of the phases it enters and leaves."""
    reading, writing = os.pipe()
    child = os.fork()  # the imports are done, and no tensor was made: nothing is shared but memory
    if child:
        os.close(writing)
        return child, reading
    code = 70
    try:
        with open(log, "w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        torch.set_num_threads(1)
        for name, (owner, function) in job.phases.items():
            setattr(owner, function, announced(getattr(owner, function), name, writing))
        cli.main(words, standalone_mode=False)
        code = 0
    except click.exceptions.Exit as error:
        code = error.exit_code
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def messages(pipe: int):
    """(time, message) as they come; ends with the process."""
    rest = b""
    while True:
        ready, _, _ = select.select([pipe], [], [], PATIENCE)
        if not ready:
            raise TimeoutError(f"no sign of life for {PATIENCE} s")
        data = os.read(pipe, 65536)
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        now = time.monotonic()
        yield from ((now, line.decode()) for line in lines)


def whole(job: Job, out: str, log: Path) -> dict[str, list[float]]:
    """An undisturbed run; how long each entry of each phase took."""
    child, pipe = start(job, job.words(out), log)
    entered, lasted = {}, collections.defaultdict(list)
    for now, message in messages(pipe):
        sign, name = message[0], message[1:]
        if sign == "+":
            entered[name] = now
        else:
            lasted[name].append(now - entered[name])
    os.close(pipe)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0:
        raise RuntimeError(f"{job.name} failed undisturbed: {log.read_text()[-2000:]}")
    return lasted


def disturbed(job: Job, words: list[str], log: Path, phase: str, entry: int, delay: float) -> str | None:
    """Run and kill `delay` seconds after entry number `entry` into `phase`. The innermost phase it died in, "between"
    phases, or None where it ended before."""
    child, pipe = start(job, words, log)
    open_phases: list[str] = []
    killed = False
    for _, message in messages(pipe):
        if message[0] == "+":
            open_phases.append(message[1:])
            if message[1:] == phase and not killed:
                entry -= 1
                if entry == 0:
                    time.sleep(delay)
                    os.kill(child, signal.SIGKILL)
                    killed = True
        else:
            open_phases.remove(message[1:])
    os.close(pipe)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == -signal.SIGKILL:
        return open_phases[-1] if open_phases else "between"
    if code != 0:
        raise RuntimeError(f"{' '.join(words)}: exit {code}: {log.read_text()[-2000:]}")
    return None


def timeless(written: bytes) -> bytes:
    """Without how long explaining took, which metrics.json tells."""
    return re.sub(rb'"seconds_per_image": [0-9.e+-]+', b"", written)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): timeless(path.read_bytes()) for path in sorted(folder.rglob("*"))
            if path.is_file() and "tensorboard" not in path.parts and path.name != ".lock"}


def torment(job: Job, work: Path, kills: int, random: Random) -> dict:
    """At least so many kills of a job; each chain of them ends in a comparison with the undisturbed run."""
    log = work / "log.txt"
    lasted = whole(job, f"{job.name}-whole", log)
    want = contents(work / f"{job.name}-whole")
    phases = [name for name in job.phases if lasted[name]]
    died, differing, chain, turn = collections.Counter(), [], 0, 0
    while sum(died.values()) < kills:
        out, left = f"{job.name}-{chain}", CHAIN
        words = job.words(out)
        while left and sum(died.values()) < kills:
            phase = phases[turn % len(phases)]
            turn += 1
            entry = random.randint(1, max(1, len(lasted[phase]) // 2))
            where = disturbed(job, words, log, phase, entry, random.uniform(0, np.mean(lasted[phase])))
            words = job.words(out) + list(job.again)
            if where is None:
                break
            died[where] += 1
            left -= 1
        if disturbed(job, words, log, "", 0, 0) is not None:
            raise RuntimeError("nobody killed it and yet it died")
        got = contents(work / out)
        differing += [f"{out}/{name}" for name in sorted(want.keys() | got.keys()) if want.get(name) != got.get(name)]
        for leftover in work.glob(f"{out}*"):
            if leftover.name != out:
                differing.append(leftover.name)
            shutil.rmtree(leftover)
        chain += 1
    return {"job": job.name, "kills": sum(died.values()), "killed in": dict(sorted(died.items())), "chains": chain,
            "files compared": len(want), "files that differ": differing}


def users_folder(work: Path) -> None:
    """Pictures, one of them cut short and one missing, labels, and masks."""
    (work / "png").mkdir()
    (work / "masks").mkdir()
    rows = []
    for k in range(IMAGES):
        drawn = phantom(5, k, 48)
        Image.fromarray(to_uint8(drawn.image)).save(work / "png" / f"{k}.png")
        rows.append({"image": f"{k}.png", "patient": k // 2, **dict(zip(FINDINGS, drawn.labels, strict=True))})
        for name, mask in zip(FINDINGS, drawn.masks, strict=True):
            if mask.any():
                Image.fromarray(mask).save(work / "masks" / f"{k}_{name}.png")
    (work / "png" / "50.png").write_bytes((work / "png" / "50.png").read_bytes()[:300])
    (work / "png" / "51.png").unlink()
    pd.DataFrame(rows).to_csv(work / "labels.csv", index=False)
    (work / "empty.yaml").write_text("{}\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=60, help="of every command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--job", action="append", choices=[job.name for job in JOBS], help="all if left out")
    parser.add_argument("--short", action="store_true", help="one kill in every phase")
    parser.add_argument("--out", type=Path, help="JSON to write")
    options = parser.parse_args()
    out, results = options.out.resolve() if options.out else None, []
    origin = provenance()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        os.chdir(work)
        users_folder(work)
        for job in JOBS:
            if job.name.startswith(("evaluate", "explain")) and not (work / "run").exists():
                whole(JOBS[1], "run", work / "log.txt")
            if not options.job or job.name in options.job:
                random = Random(f"{options.seed}/{job.name}")
                kills = len(job.phases) if options.short else options.kills
                results.append(torment(job, work, kills, random) | {"commit": origin["commit"]})
                print(json.dumps(results[-1]), flush=True)
                if out:
                    known = json.loads(out.read_text()) if out.exists() else {"results": []}
                    kept = [{"commit": known["provenance"]["commit"]} | r for r in known["results"]
                            if r["job"] not in {r["job"] for r in results}]
                    out.write_text(json.dumps({"seed": options.seed, "provenance": origin, "results": kept + results},
                                              indent=1) + "\n")
            if job.name == "prepare":
                if not (work / "prepare-whole").exists():
                    whole(job, "prepare-whole", work / "log.txt")
                (work / "store").symlink_to(work / "prepare-whole")
        os.chdir("/")
    return int(any(result["files that differ"] for result in results))


if __name__ == "__main__":
    sys.exit(main())
