"""What every training loop shares: devices, the run folder, the loop itself, validation, a clean stop."""

from __future__ import annotations

import atexit
import json
import shutil
import signal
import threading
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from tqdm import tqdm

from attrinet.data.store import Store
from attrinet.errors import AttrinetError, Stopped, said
from attrinet.files import held, write_atomically
from attrinet.folder import ON_VALIDATION, save_model
from attrinet.metrics.auc import auc
from attrinet.metrics.youden import youden_threshold
from attrinet.train import checkpoint
from attrinet.train.config import Config, check_config, dump_config, flat, load_config
from attrinet.train.finite import Batch, FiniteCheck
from attrinet.train.guide import given_masks
from attrinet.train.log import MetricsLog
from attrinet.train.state import TrainState

T = TypeVar("T")
PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed"}
# may change on --resume
RESUMABLE = ("data.store", "data.resident", "run.devices", "run.nodes", "run.accelerator", "run.checkpointing",
             "run.compile", "run.eval_batch_size", "schedule.steps", "baseline.epochs")
RESIDENT = 1 / 3  # of a GPU's free memory, which the images may take; a training step needs the rest


@dataclass(frozen=True)
class Job:
    """What a run works with. rows: the store's row numbers of "train" and "valid". out: the run folder."""

    config: Config
    store: Store
    rows: dict[str, np.ndarray]
    out: Path
    fabric: Fabric

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes."""
        return self.fabric.is_global_zero


def open_data(config: Config) -> tuple[Store, dict[str, np.ndarray]]:
    """The store with the findings of the run, and its training and validation rows. AttrinetError if these or the
    configuration, which may have been edited since it was read, are unfit."""
    check_config(config)
    if not config.data.store:
        raise AttrinetError("data.store is not set: name the folder that `attrinet prepare` wrote, for instance "
                            "data.store=stores/mine")
    store = Store.open(config.data.store)
    store = store.select(config.data.findings) if config.data.findings else store
    rows = {name: store.split(name) for name in ("train", "valid")}
    check_split(store, rows)
    return store, rows


def launch(config: Config) -> Fabric:
    """Devices and processes of the run, started. Raises AttrinetError for such as are not here."""
    accelerator = config.run.accelerator
    if accelerator == "auto":  # Fabric's own would take an MPS or a TPU, which know no float64
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        fabric = Fabric(
            accelerator=accelerator, devices=config.run.devices, num_nodes=config.run.nodes,
            precision=PRECISIONS[config.run.precision],
            plugins=[] if config.run.devices * config.run.nodes > 1 else [LightningEnvironment()],
        )
    except (MisconfigurationException, RuntimeError, ValueError) as error:
        raise AttrinetError(f"run.accelerator={config.run.accelerator}, run.devices={config.run.devices}: not usable "
                            f"here ({said(error)}); use auto, cpu or cuda") from error
    fabric.launch()
    atexit.register(leave_group)
    return fabric


def leave_group() -> None:
    """Gloo's threads must end before the interpreter does, or they abort the process; Fabric sees to NCCL's alone."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def run_steps(
    job: Job, state: TrainState, step: Callable[[], dict[str, list[Tensor]]], *, batch: Batch, total: int,
    validates: Callable[[int], bool], sample: Callable[[], None] | None = None,
    begun: Callable[[], None] | None = None, resume: bool, progress: bool,
) -> Path:
    """Take steps until `total` are done, in a new or resumed run folder; returns the folder of the best model.

    step: takes one, counts it in state.step, and returns its losses by name. batch: see finite.Batch. validates:
    whether a step number is one after which to validate. sample: draws the sample maps. begun: called when the run
    folder is there.

    Stopped by Ctrl-C, SIGTERM or SIGHUP it saves and leaves; killed, it continues from the last checkpoint. Raises
    AttrinetError for losses that are no longer finite, and for a folder that cannot be written to any more.
    """
    config, fabric, out = job.config, job.fabric, job.out
    finite = FiniteCheck(out, config, fabric, job.store, state, batch)

    def take_folder() -> None:
        left.enter_context(held(out, "is training in this folder"))
        begin(out, config, resume)

    def say_what_is_run() -> None:
        write_atomically(out / "config.yaml", lambda p: p.write_text(dump_config(config)), checkpoint.RESUME)
        if begun:
            begun()

    def write(record: dict[str, float]) -> None:
        alone(job, lambda: log.write({"step": state.step, "kind": "train", **record}, record))

    def save() -> None:
        log.sync()
        checkpoint.save_checkpoint(out / "checkpoints", state)

    with checkpoint.writable(out), ExitStack() as left, stop_requests() as stop_requested:
        alone(job, take_folder)
        go_on(job, state)
        if state.step > total:
            option = "schedule.steps" if config.model.kind == "attrinet" else "baseline.epochs"
            raise AttrinetError(f"{out}: has taken {state.step} steps already, more than the {total} of {option}; "
                                "ask for more, or start a new run with --out")
        state.data, state.masks = job.store.identity, given_masks(config, job.store)
        alone(job, say_what_is_run)  # now that nothing is wrong with it
        if resident(config.data.resident, job.store.images.nbytes, fabric.device):
            job.store.hold(fabric.device, progress and job.leads)
        start = state.step
        log = alone(job, lambda: left.enter_context(closing(MetricsLog(out, start))))
        window: dict[str, list[Tensor | float]] = defaultdict(list)  # losses since the last record
        for name, values in state.window.items():
            window[name] += values
        bar = left.enter_context(tqdm(
            total=total, initial=start, unit="step", smoothing=0.05, dynamic_ncols=True, desc="training",
            disable=not (progress and job.leads),
        ))
        while state.step < total:
            losses = step()
            finite.losses(losses)
            for name, values in losses.items():
                window[name] += values

            bar.update()
            stop, final = any_process(fabric, stop_requested()), state.step == total
            saves = due(config.run.checkpoint_every, state.step) or final or stop
            if due(config.run.log_every, state.step) or final:
                record = means(job, window)
                write(record)
                bar.set_postfix({name.split("/")[1]: f"{value:.3g}" for name, value in record.items()})
                window.clear()
            if validates(state.step) or final:
                validate(job, state, finite, log)
            if sample and (due(config.run.sample_every, state.step) or final):
                alone(job, sample)
            if saves:
                finite.weights()
                state.window = averaged(job, window)
                alone(job, save)  # in a process that ended before, the launcher would see a reason to kill this one
            if stop and not final:
                raise Stopped(f"{out}: stopped after step {state.step} and saved; go on with --resume")
    return out / "best"


def alone(job: Job, work: Callable[[], T]) -> T | None:
    """Have the process that writes do `work` while the others wait; returns there what that gave. Where it fails, all
    end, and that one says why: one that ended by itself would leave the others waiting for it in their next exchange,
    which `work` must have none of."""
    made, failed = None, None
    if job.leads:
        try:
            made = work()
        except Exception as error:
            failed = error
    if any_process(job.fabric, failed is not None):
        raise failed or SystemExit(2)
    return made


def go_on(job: Job, state: TrainState) -> None:
    """Put the newest checkpoint of the run folder, if there is one, into `state`."""
    found = checkpoint.checkpoints(job.out / "checkpoints")
    if found:
        tensors, kept = checkpoint.read_checkpoint(found[-1])
        check_store(job, kept.get("data"))
        check_masks(job, kept.get("masks"))
        checkpoint.restore(found[-1], state, tensors, kept)


def check_store(job: Job, before: dict[str, str] | None) -> None:
    """before: identity of the store of the steps taken so far; None where an earlier version did not write it."""
    if before not in (None, job.store.identity):
        raise AttrinetError(f"{job.store.path}: is not the store that {job.out} was trained on so far: its images, "
                            "labels, annotations or splits are others; name that one by data.store=…, or start a "
                            "new run with --out")


def check_masks(job: Job, before: str | None) -> None:
    """before: given_masks of the steps taken so far; None where there were none, or an earlier version did not say."""
    if before not in (None, given_masks(job.config, job.store)):
        raise AttrinetError(f"{', '.join(sorted(job.config.guidance.masks.values()))}: not the guidance masks that "
                            f"{job.out} was trained with so far (guidance.masks); put the earlier ones back, or start "
                            "a new run with --out")


def resident(mode: str, size: int, device: torch.device) -> bool:
    """Whether to keep images of `size` bytes in the device's memory (data.resident)."""
    if mode == "auto":
        return device.type == "cuda" and size <= RESIDENT * torch.cuda.mem_get_info(device)[0]
    return mode == "always"


def begin(out: Path, config: Config, resume: bool) -> None:
    """Make or reopen the run folder."""
    saved = out / "config.yaml"
    if saved.exists() and not resume:
        raise AttrinetError(f"{out}: already holds a run; go on with --resume, or name another folder with --out")
    for name in ("checkpoints", "samples"):
        (out / name).mkdir(parents=True, exist_ok=True)
    for left in (out / "checkpoints").glob(".tmp*"):  # safetensors writes by a file of its own, which a kill leaves
        left.unlink()
    shutil.rmtree(out / "best.tmp", ignore_errors=True)
    if saved.exists():
        check_same(saved, config)
    elif resume:
        warnings.warn(f"{out}: holds no run to go on with; a new one begins there", stacklevel=2)
    checkpoint.repair_folder(out / "best")


def check_same(saved: Path, config: Config) -> None:
    """A resumed run must be the run that was started: AttrinetError names the options that differ."""
    before, now = dict(flat(load_config(saved))), dict(flat(config))
    changed = [f"{k}: {before[k]} → {now[k]}" for k in now if before[k] != now[k] and k not in RESUMABLE]
    if changed:
        raise AttrinetError(f"{saved}: this run was started with other options ({'; '.join(changed)}); "
                            "resume with the same, or start a new run with --out")


def check_split(store: Store, rows: dict[str, np.ndarray]) -> None:
    for name, indices in rows.items():
        if len(indices) == 0:
            raise AttrinetError(f"{store.path}: no {name!r} images; prepare the store with a {name} split")
    known = store.labels[rows["valid"]]
    single = [f for c, f in enumerate(store.findings) if len(set(known[~np.isnan(known[:, c]), c])) < 2]
    if len(single) == len(store.findings):
        raise AttrinetError(f"{store.path}: no finding is both present and absent among the 'valid' images, "
                            "so the best model cannot be chosen; prepare a larger validation split")
    if single:
        warnings.warn(f"{store.path}: the 'valid' images do not show both presence and absence of {', '.join(single)}: "
                      "the threshold stays 0.5 there, and the mean AUC that chooses the best model leaves it out",
                      stacklevel=2)


def due(every: int, step: int) -> bool:
    return step % every == 0


def means(job: Job, window: dict[str, list[Tensor | float]]) -> dict[str, float]:
    """Mean of each loss since the last record, over all processes."""
    window = {name: values for name, values in window.items() if values}  # no critic steps, no loss of theirs
    own = torch.tensor([np.mean(floats(job, values)) for values in window.values()], dtype=torch.float64)
    return dict(zip(window, job.fabric.all_reduce(own.to(job.fabric.device), reduce_op="mean").tolist(), strict=True))


def averaged(job: Job, window: dict[str, list[Tensor | float]]) -> dict[str, list[float]]:
    """Every loss since the last record, averaged over all processes: what a resumed run begins with, whichever process
    it is then."""
    own = torch.tensor(floats(job, [v for values in window.values() for v in values]), dtype=torch.float64)
    means = iter(job.fabric.all_reduce(own.to(job.fabric.device), reduce_op="mean").tolist() if len(own) else ())
    return {name: [next(means) for _ in values] for name, values in window.items()}


def floats(job: Job, values: list[Tensor | float]) -> list[float]:
    """From the device in one message."""
    on_device = [torch.as_tensor(v, dtype=torch.float64, device=job.fabric.device) for v in values]
    return torch.stack(on_device).tolist() if values else []


def any_process(fabric: Fabric, asked: bool) -> bool:
    """Whether one of the processes was asked to stop: all do then, after the same step, and that step is saved."""
    if fabric.world_size == 1:
        return asked
    return bool(fabric.all_reduce(torch.tensor(float(asked), device=fabric.device), reduce_op="sum") > 0)


def predict(fabric: Fabric, model: nn.Module, store: Store, rows: np.ndarray, batch_size: int) -> np.ndarray:
    """Probabilities (len(rows), C) of every row, none dropped; shared out over the processes."""
    model.eval()
    padded = np.resize(rows, -(-len(rows) // fabric.world_size) * fabric.world_size)
    mine = padded[fabric.global_rank :: fabric.world_size]
    parts = []
    for start in range(0, len(mine), batch_size):
        x = store.batch(mine[start : start + batch_size], fabric.device)
        parts.append(model.logits(x))  # without autocast, as the model that is kept is used
    gathered = fabric.all_gather(torch.cat(parts))  # (world, n, C), or (n, C) alone
    if fabric.world_size > 1:
        gathered = gathered.transpose(0, 1).flatten(0, 1)
    model.train()
    return gathered[: len(rows)].cpu().double().sigmoid().numpy()


def validate(job: Job, state: TrainState, finite: FiniteCheck, log: MetricsLog | None) -> None:
    """AUC on all validation images; a new best mean AUC replaces best/, with its Youden thresholds."""
    store, rows = job.store, job.rows["valid"]
    probabilities = predict(job.fabric, state.model, store, rows, job.config.run.eval_batch_size)
    finite.predictions(probabilities, rows)
    labels = store.labels[rows]
    result = auc(labels, probabilities, store.findings)
    better = result.mean > state.best_auc
    if better:
        state.best_auc, state.best_step = result.mean, state.step

    def write() -> None:
        log.write({"step": state.step, "kind": "valid", "auc": result.per_finding, "mean_auc": result.mean},
                  {"valid/mean_auc": result.mean})
        if better:
            replace_best(job, state, labels, probabilities)

    alone(job, write)


def replace_best(job: Job, state: TrainState, labels: np.ndarray, probabilities: np.ndarray) -> None:
    """Write the model to best/. labels, probabilities: (N, C), of the validation images."""
    thresholds = {name: youden_threshold(labels[:, c], probabilities[:, c]).threshold
                  for c, name in enumerate(job.store.findings)}
    new = job.out / "best.tmp"
    save_model(state.model, new, thresholds=thresholds, preprocessing=job.store.preprocessing,
               thresholds_from=ON_VALIDATION)
    origin = {"step": state.step, "best_auc": state.best_auc, "data": job.store.identity, "config": asdict(job.config)}
    (new / "training.json").write_text(json.dumps(origin, indent=2) + "\n")
    checkpoint.replace_folder(new, job.out / "best")


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Turns Ctrl-C, SIGTERM and a closed terminal into a question the loop asks after each step; a second Ctrl-C
    interrupts at once."""
    asked = threading.Event()

    def ask(signum, frame):
        if asked.is_set() and signum == signal.SIGINT:
            raise KeyboardInterrupt
        asked.set()

    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    asking = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as under nohup
        asking.append(signal.SIGHUP)
    before = {s: signal.signal(s, ask) for s in asking}
    try:
        yield asked.is_set
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
