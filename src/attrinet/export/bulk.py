"""Explanations of a whole split, in shards that several processes and machines share and a kill does not spoil."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from attrinet.allocator import keep_freed_memory
from attrinet.data.store import Store
from attrinet.errors import AttrinetError
from attrinet.export.engine import engine_hash, use_engine
from attrinet.export.shard import DTYPES, NAMES, write_shard
from attrinet.files import write_json
from attrinet.folder import load
from attrinet.nets.attrinet import AttriNet
from attrinet.nets.compiled import compile_in_place, compiles
from attrinet.nets.weights import weights_hash
from attrinet.processes import pool

FORMAT = 3
PER_SHARD, BATCH = 256, 16
RECIPE = 1 << 40  # its byte of the lock file, behind those of all shards


@dataclass(frozen=True)
class Bulk:
    """What to explain, and where to. Everything but `device` and `compile` is the same for all processes that share the
    work.

    model: model folder. store: store folder. split: train, valid or test. out: folder to write. dtype: of the
    contributions, see attrinet.export.shard. per_shard: images a shard; batch: images a forward pass. engine: folder
    of OpenVINO files that make the maps, see attrinet.export.use_engine. precision: what Attri-Net's generator computes
    in, fp32 or bf16. compile: auto, on a GPU where attrinet.nets.compiled can, or never.
    """

    model: Path
    store: Path
    split: str
    out: Path
    dtype: str = "float32"
    device: str = "cpu"
    per_shard: int = PER_SHARD
    batch: int = BATCH
    engine: Path | None = None
    precision: str = "fp32"
    compile: str = "auto"

    def open(self) -> tuple[torch.nn.Module, Store, np.ndarray]:
        """Model, store with the model's findings, and the rows of the split."""
        model = load(self.model, self.device)
        if self.engine is not None:
            use_engine(model, self.engine)
        if isinstance(model, AttriNet):
            model.autocast = torch.bfloat16 if self.precision == "bf16" else None
            if self.compile == "auto" and compiles(model.device):
                compile_in_place(model.generator, inference=True)
        store = Store.open(self.store).select(model.findings)
        return model, store, store.split(self.split)

    def files(self, shard: int) -> list[Path]:
        """The files of a shard, in the order in which they are written: the last one says that all are there."""
        return [self.out / name / f"{shard:05d}.{ending}" for name, ending in NAMES]

    def done(self, shard: int) -> bool:
        return self.files(shard)[-1].exists()


def explain_store(bulk: Bulk, *, workers: int = 1, part: tuple[int, int] = (1, 1), progress: bool = True) -> int:
    """Explain the shards that are not done yet; returns how many shards there are in this part.

    workers: processes here. part (i, n): only every n-th shard, beginning with the i-th, for n machines that see the
    same folder. What is done stays; shards that another process is at are waited for, and done if it dies. So when
    this returns, the part is complete. A shard's bytes do not depend on kills, parts or other processes, and on
    workers only as far as PyTorch rounds otherwise with fewer threads.

    Raises AttrinetError for an `out` that holds other explanations or cannot be written, a part that is none, an empty
    split, a model or store that is replaced meanwhile, or a worker that died.
    """
    if not 1 <= part[0] <= part[1] or workers < 1 or bulk.dtype not in DTYPES:
        raise AttrinetError(f"--shard {part[0]}/{part[1]}, --workers {workers}, --dtype {bulk.dtype}: want 1 ≤ i ≤ n, "
                            f"1 or more, and one of {', '.join(DTYPES)}")
    model, store, rows = bulk.open()
    if len(rows) == 0:
        raise AttrinetError(f"{bulk.store}: no {bulk.split!r} images; choose another --split")
    wanted = recipe(bulk, model, store, rows)
    begin(bulk, wanted)
    del model
    mine = range(part[0] - 1, -(-len(rows) // bulk.per_shard), part[1])
    todo = [shard for shard in mine if not bulk.done(shard)]
    bar = tqdm(total=len(mine), initial=len(mine) - len(todo), unit="shard", desc="explaining", disable=not progress,
               dynamic_ncols=True)
    with bar:
        for _ in results(bulk, wanted, todo, workers):
            bar.update()
    return len(mine)


def recipe(bulk: Bulk, model: torch.nn.Module, store: Store, rows: np.ndarray) -> dict:
    """What must be the same for two shards to belong together."""
    chosen = {k: v for k, v in asdict(bulk).items() if k in ("split", "dtype", "per_shard", "batch", "precision")}
    return {
        "format": FORMAT, "weights": weights_hash(model), "store": store.meta["checksum"], "images": len(rows),
        "truth": store.truth(rows),
        "findings": list(model.findings), "thresholds": model.thresholds.tolist(), **chosen,
        "engine": None if bulk.engine is None else engine_hash(bulk.engine),
    }


def begin(bulk: Bulk, wanted: dict) -> None:
    """Make the folder, or see that what lies there is of the same recipe."""
    path = bulk.out / "recipe.json"
    try:
        for name, _ in NAMES:
            (bulk.out / name).mkdir(parents=True, exist_ok=True)
        with held(bulk, RECIPE, wait=True):
            if not path.exists():
                write_json(path, wanted)
        before = {"precision": "fp32"} | json.loads(path.read_text())  # earlier versions had no other
    except (OSError, ValueError) as error:
        raise AttrinetError(f"{path}: cannot be written or read ({error}); choose another --out") from error
    differ = [key for key in wanted if before.get(key) != wanted[key]]
    if differ:
        raise AttrinetError(f"{bulk.out}: holds explanations of another {differ[0]} ({before.get(differ[0])}, not "
                            f"{wanted[differ[0]]}); choose another --out{' or --engine' * (differ[0] == 'engine')}")


# ---- one shard at a time, nobody else at it


@contextmanager
def held(bulk: Bulk, shard: int, wait: bool) -> Iterator[bool]:
    """Hold a shard, or RECIPE, against all other processes, also of other machines; gives False where another has it.

    One byte of the lock file a shard. The kernel lets go when this process dies.
    """
    path = bulk.out / ".lock"
    with open(path, "a") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, shard)
        except (BlockingIOError, PermissionError):
            yield False
        except OSError as error:
            raise AttrinetError(f"{path}: this file system cannot lock ({error.strerror}), so processes would get in "
                                "each other's way; choose another --out") from error
        else:
            yield True


def work(opened: tuple, bulk: Bulk, shard: int, wait: bool = False) -> bool:
    """Write a shard unless it is done; False where another process is at it."""
    model, store, rows = opened
    with held(bulk, shard, wait) as mine:
        if mine and not bulk.done(shard):
            place = rows[shard * bulk.per_shard : (shard + 1) * bulk.per_shard]
            write_shard(model, store, place, bulk.files(shard), bulk.dtype, bulk.batch)
        return mine


def results(bulk: Bulk, wanted: dict, todo: list[int], workers: int) -> Iterator[int]:
    """Shards as they are done; those that other processes are at come last."""
    if not todo:
        return
    with calls(bulk, wanted, min(workers, len(todo))) as call:
        for wait in (False, True):
            busy = []
            for shard, mine in call(todo, wait):
                if mine:
                    yield shard
                else:
                    busy.append(shard)
            todo = busy


def reopen(bulk: Bulk, wanted: dict) -> tuple:
    """bulk.open() of what the recipe was made of. Raises AttrinetError where that was replaced since, as training does
    with RUN/best."""
    opened = bulk.open()
    now = recipe(bulk, *opened)
    differ = [key for key in wanted if now[key] != wanted[key]]
    if differ:
        raise AttrinetError(f"{bulk.out}: the {differ[0]} changed meanwhile ({wanted[differ[0]]} before, "
                            f"{now[differ[0]]} now), and what lies here is of the earlier; choose another --out")
    return opened


@contextmanager
def calls(
    bulk: Bulk, wanted: dict, workers: int
) -> Iterator[Callable[[list[int], bool], Iterator[tuple[int, bool]]]]:
    """Something that works on shards and gives (shard, work's answer) as they end: here, or in processes."""
    if workers == 1:
        opened = reopen(bulk, wanted)
        yield lambda shards, wait: ((shard, work(opened, bulk, shard, wait)) for shard in shards)
        return
    threads = max(torch.get_num_threads() // workers, 1)
    with pool(workers, _start_worker, (bulk, wanted, threads)) as processes:

        def call(shards: list[int], wait: bool) -> Iterator[tuple[int, bool]]:
            futures = {processes.submit(_work, shard, wait): shard for shard in shards}
            for future in as_completed(futures):
                yield futures[future], future.result()

        yield call


_worker: tuple = ()


def _start_worker(bulk: Bulk, wanted: dict, threads: int) -> None:
    global _worker  # one assignment when the process starts; tasks then carry only shard numbers
    torch.set_num_threads(threads)
    keep_freed_memory()  # a setting of the process, which is ours
    _worker = (bulk, wanted)


@cache
def _opened() -> tuple:
    """Opened by the first task, whose error reaches the user; one raised while the process starts would not."""
    return reopen(*_worker)


def _work(shard: int, wait: bool) -> bool:
    return work(_opened(), _worker[0], shard, wait)
