"""What a step does with its batch on every device: this process's share, the jitter, the mean over processes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from attrinet.data.images import upload
from attrinet.data.store import Store
from attrinet.train.config import DataConfig


def share(fabric: Fabric, values: np.ndarray) -> np.ndarray:
    """This process's share of a global batch."""
    return values[fabric.global_rank :: fabric.world_size]


def jittered(
    fabric: Fabric, store: Store, rows: np.ndarray, data: DataConfig, random: np.random.Generator
) -> Tensor:
    """Images of this process's share of `rows`, contrast and brightness jittered: (b, 1, H, W) in [-1, 1]."""
    contrast = share(fabric, random.uniform(*data.contrast, size=len(rows)))
    brightness = share(fabric, random.uniform(*data.brightness, size=len(rows)))
    grey = (store.batch(share(fabric, rows), fabric.device) + 1) / 2
    factors = upload(np.stack([contrast, brightness]).astype(np.float32), grey.device)
    c, b = factors.view(2, -1, 1, 1, 1)
    mean = grey.mean(dim=(2, 3), keepdim=True)
    return ((mean + c * (grey - mean)) * b).clamp(0, 1) * 2 - 1


def average(fabric: Fabric, tensors: Iterable[Tensor]) -> None:
    """Mean over processes, in place, in one message. Plain all-reduce: DDP's hooks know no double backward."""
    if fabric.world_size == 1:
        return
    tensors = list(tensors)
    flat = torch.cat([t.flatten() for t in tensors])
    torch.distributed.all_reduce(flat)  # fabric's own waits for all processes before each
    flat /= fabric.world_size
    for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


def update(
    fabric: Fabric, optimizer: torch.optim.Optimizer, loss: Tensor, parameters: Iterable[torch.nn.Parameter]
) -> None:
    """One step of `optimizer` on `parameters` alone, by the gradient of `loss` averaged over processes."""
    parameters = list(parameters)
    for parameter in parameters:
        parameter.grad = None
    loss.backward(inputs=parameters)
    average(fabric, (p.grad for p in parameters))
    optimizer.step()
    for parameter in parameters:
        parameter.grad = None
