"""Training of the baselines (§4.1.3): what a step is; the loop around it is attrinet.train.run's.

The text gives Adam, learning rate 1e-4, batches of 4, 50 epochs, and the model of best validation AUC. From the
authors' public code come binary cross-entropy over all findings, weight decay 1e-5, the same jitter as Attri-Net's,
and a weight of 0.1 for guidance on the positive contributions. (Their explanation comes from Captum's InputXGradient,
whose gradient keeps no graph, so that their guidance cannot have moved a weight of B-cos. Here it does.)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from attrinet.baselines import BASELINES
from attrinet.baselines.backbone import Backbone, load_pretrained
from attrinet.baselines.epochs import Epochs
from attrinet.data.sampling import label_pools
from attrinet.errors import AttrinetError
from attrinet.guidance import Guidance
from attrinet.losses import guidance_loss
from attrinet.train.batches import average, jittered, share, update
from attrinet.train.checkpoint import checkpoints
from attrinet.train.config import Config
from attrinet.train.guide import build_guidance
from attrinet.train.mask_files import save_masks
from attrinet.train.run import Job, launch, open_data, run_steps
from attrinet.train.samples import SAMPLES, save_samples
from attrinet.train.state import TrainState

ONE_VALUE = "Expected more than 1 value per channel"  # torch's, of a batch norm that has nothing to average


def train(config: Config, out: str | Path, *, resume: bool = False, progress: bool = True) -> Path:
    """Train the baseline model.kind names into the run folder `out`; returns the folder of the best model.

    Stops, resumes and fails as attrinet.train.loop.train does. Of several processes each normalises by its own share of
    the batch, as usual; gradients and running deviations are averaged.
    """
    if config.model.kind not in BASELINES:
        raise AttrinetError(f"model.kind={config.model.kind}: attrinet.train.loop.train trains this kind")
    store, rows = open_data(config)
    label_pools(store.labels, rows["train"], store.findings)  # raises where a finding has nothing to learn from
    guidance, annotated = build_guidance(config, store, rows["train"]) if config.baseline.guidance else (None, None)
    own = None if guidance is None else np.flatnonzero(annotated.any(1))
    epochs = Epochs(rows["train"], config.run.batch_size, config.run.seed, own, config.guidance.annotated_rate)

    job = Job(config, store, rows, Path(out), launch(config))
    torch.manual_seed(config.run.seed)
    build = BASELINES[config.model.kind]
    model = build(store.findings, store.size, **{name: getattr(config.model, name) for name in build.SIZES})
    if isinstance(model, Backbone) and config.model.weights and not checkpoints(job.out / "checkpoints"):
        load_pretrained(model, config.model.weights)
    model.to(job.fabric.device).train()
    settings = {"lr": config.baseline.lr, "weight_decay": config.baseline.weight_decay}
    state = TrainState(model, {"model": torch.optim.Adam(model.parameters(), fused=True, **settings)}, counters={})
    statistics = [b for name, b in model.named_buffers() if name.split(".")[-1] in ("running_mean", "running_var")]

    def step() -> dict[str, list[Tensor]]:
        torch.manual_seed(config.run.seed + state.step)  # a resumed run drops out the same units of a backbone
        chosen = epochs.batch(state.step)
        images = jittered(job.fabric, store, chosen, config.data, epochs.jitter(state.step))
        try:
            with job.fabric.autocast():
                terms = losses_of(job, model, images, chosen, guidance)
        except ValueError as error:
            if ONE_VALUE not in str(error):
                raise
            raise AttrinetError(f"run.batch_size={config.run.batch_size}: at {store.size} pixels {model.name} needs 2 "
                                "or more images a process, as it normalises over the batch") from error
        total = terms["classification"] + config.baseline.guidance * terms.get("guidance", 0.0)
        update(job.fabric, state.optimizers["model"], total, model.parameters())
        average(job.fabric, statistics)
        state.step += 1
        return {f"model/{name}": [term.detach()] for name, term in terms.items()}

    def begun() -> None:
        if guidance is not None:
            save_masks(job.out / "guidance", guidance, annotated, store, rows["train"])

    def sample() -> None:
        images = store.batch(rows["valid"][:SAMPLES])
        save_samples(job.out / "samples" / f"step-{state.step:08d}.png", images, model.explain(images).contributions)

    return run_steps(
        job, state, step, batch=lambda loss, back: epochs.batch(state.step - back),
        total=epochs.steps(config.baseline.epochs), validates=epochs.ends_one,
        sample=sample if config.model.kind == "bcos_resnet50" else None, begun=begun,
        resume=resume, progress=progress,
    )


def losses_of(
    job: Job, model: torch.nn.Module, images: Tensor, rows: np.ndarray, guidance: Guidance | None
) -> dict[str, Tensor]:
    """Classification and, where there is something to guide, guidance of a batch, before their weights.

    images: this process's share of the global batch `rows`. Means over what is known in the global batch: each process
    gives its part times the number of processes, as gradients and records are averaged.
    """
    labels, mine = job.store.labels[rows], share(job.fabric, rows)
    own = share(job.fabric, labels)
    present = int((labels == 1).sum())
    guided = guidance is not None and present > 0
    if guided:
        maps, logits = model.contributions(images, torch.from_numpy(positives_first(own)), differentiable=True)
    else:
        logits = model(images)
    world = job.fabric.world_size
    known = int((~np.isnan(labels)).sum())
    terms = {"classification": cross_entropy(logits, torch.from_numpy(own)) * world / max(known, 1)}
    if guided:
        terms["guidance"] = energy_outside(maps, own, mine, guidance) * world / present
    return terms


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy summed over images and findings (B, C); an unknown label (NaN) counts for nothing."""
    labels = labels.to(logits.device)
    each = F.binary_cross_entropy_with_logits(logits.float(), labels.nan_to_num(), reduction="none")
    return each.masked_fill(labels.isnan(), 0).sum()


def positives_first(labels: np.ndarray) -> np.ndarray:
    """(B, C) labels → (B, K) findings: of every image the positive ones in order, then others; K the most it has."""
    return np.argsort(labels != 1, axis=1, kind="stable")[:, : (labels == 1).sum(1).max()]


def energy_outside(maps: Tensor, labels: np.ndarray, rows: np.ndarray, guidance: Guidance) -> Tensor:
    """Eq. 6 on the positive contributions, summed over the positive images of every finding.

    maps: (B, K, H, W), of the findings positives_first(labels). labels: (B, C). rows: (B,) of the store. An unguided
    image costs nothing.
    """
    total = maps.new_zeros(())
    place = (labels == 1).cumsum(1) - 1
    for finding in range(labels.shape[1]):
        positive = np.flatnonzero(labels[:, finding] == 1)
        if not len(positive):
            continue
        masks, guided = guidance.masks(rows[positive], finding)
        evidence = maps[torch.from_numpy(positive), torch.from_numpy(place[positive, finding])].clamp(min=0)
        each = guidance_loss(evidence[:, None], torch.from_numpy(masks).to(maps.device), "none")
        total = total + (each * torch.from_numpy(guided).to(maps.device)).sum()
    return total
