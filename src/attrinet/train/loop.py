"""Training of Attri-Net (paper §3.7): what a step is; the loop around it is attrinet.train.run's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from attrinet.data.sampling import Sampler
from attrinet.errors import AttrinetError
from attrinet.nets.attrinet import AttriNet
from attrinet.train.config import Config
from attrinet.train.guide import build_guidance
from attrinet.train.mask_files import save_masks
from attrinet.train.run import Job, due, launch, open_data, run_steps
from attrinet.train.samples import SAMPLES, save_samples
from attrinet.train.schedule import critic_steps
from attrinet.train.state import new_state
from attrinet.train.steps import Steps


def train(config: Config, out: str | Path, *, resume: bool = False, progress: bool = True) -> Path:
    """Train Attri-Net into the run folder `out`; returns the folder of the best model by mean validation AUC.

    Stopped by Ctrl-C, SIGTERM or SIGHUP it saves and leaves; killed, it continues from the last checkpoint with
    `resume=True`, and on CPU ends with the same weights and log, bit for bit (of several processes, the log up to
    rounding). Raises AttrinetError for input that cannot be trained on, before training starts, and for losses that are
    no longer finite. model.kind must be attrinet: attrinet.baselines.loop.train trains the others.
    """
    if config.model.kind != "attrinet":
        raise AttrinetError(f"model.kind={config.model.kind}: attrinet.baselines.loop.train trains this kind")
    store, rows = open_data(config)
    sampler = Sampler(store.labels, rows["train"], store.findings, config.run.batch_size, config.run.seed)
    guidance, annotated = build_guidance(config, store, rows["train"])
    sampler.oversample(annotated, config.guidance.annotated_rate)

    job = Job(config, store, rows, Path(out), launch(config))
    torch.manual_seed(config.run.seed)
    model = AttriNet(  # on the CPU first: one seed, one start, on every device
        store.findings, store.size, width=config.model.width, pool=config.model.pool,
        critic_levels=config.model.critic_levels, output=config.model.output,
    )
    model.generator.checkpointing = config.run.checkpointing
    state = new_state(model.to(job.fabric.device), config.optimizer)
    steps = Steps(job.fabric, state, store, sampler, guidance, config)

    def step() -> dict[str, list[Tensor]]:
        losses = {}
        if config.losses.adversarial:
            losses["critic/loss"] = steps.critic(critic_steps(state.step, config.schedule))
        losses |= {f"generator/{name}": [term] for name, term in steps.generator().items()}
        losses["classifier/loss"] = steps.classifier(config.schedule.classifier_steps)
        return losses

    def batch(loss: str, back: int) -> np.ndarray:
        kind = loss.split("/")[0]
        _, negatives, positives = sampler.draw(kind, state.counters[kind] - back)
        return np.concatenate([negatives, positives])

    def begun() -> None:
        if guidance is not None:
            save_masks(job.out / "guidance", guidance, annotated, store, rows["train"])

    def sample() -> None:
        images = store.batch(rows["valid"][:SAMPLES])
        model.eval()
        maps = model.explain(images).attribution
        model.train()
        save_samples(job.out / "samples" / f"step-{state.step:08d}.png", images, maps)

    return run_steps(
        job, state, step, batch=batch, total=config.schedule.steps,
        validates=lambda n: due(config.run.validate_every, n), sample=sample, begun=begun, resume=resume,
        progress=progress,
    )
