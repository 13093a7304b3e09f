"""A network and its optimisers as flat tensors, and back: what a checkpoint holds of them."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.optim import Optimizer


def flat_tensors(model: nn.Module, optimizers: Mapping[str, Optimizer]) -> dict[str, Tensor]:
    """All weights and optimiser moments under flat names."""
    out = {f"model.{k}": v for k, v in model.state_dict().items()}
    for name, optimizer in optimizers.items():
        for index, moments in optimizer.state_dict()["state"].items():
            out |= {f"optimizer.{name}.{index}.{k}": v for k, v in moments.items()}
    return out


def restore_tensors(tensors: Mapping[str, Tensor], model: nn.Module, optimizers: Mapping[str, Optimizer]) -> None:
    """The inverse of flat_tensors, into a network of the same shape."""
    model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
    for name, optimizer in optimizers.items():
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith(f"optimizer.{name}."):
                index, field_name = key.removeprefix(f"optimizer.{name}.").split(".")
                moments.setdefault(int(index), {})[field_name] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
