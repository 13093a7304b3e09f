"""Loads the authors' reference numbers into our networks; shared by the tests that check against them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from attrinet.nets.attrinet import AttriNet
from attrinet.nets.authors import network_state

FINDINGS = ("a", "b", "c", "d", "e")
CLASSES = (0, 3)


class Reference:
    """x (4, 1, 128, 128), labels 0 0 1 1, `model` with the authors' weights, and value("class0/…") as tensors."""

    def __init__(self, shared: Path):
        path = shared / "golden" / "attrinet_reference_numbers.npz"
        if not path.exists():
            pytest.skip(f"{path} not found")
        self.arrays = np.load(path)
        self.x = self["x"]
        self.model = AttriNet(FINDINGS, 128, width=8, pool=32, critic_levels=5)
        self.model.generator.load_state_dict(network_state(self.state("generator/")))
        self.model.critic.load_state_dict(network_state(self.state("discriminator/")))
        for classifier in self.model.classifiers:  # the file holds one classifier and one pair of centres
            classifier.load_state_dict({k.split(".")[1]: v for k, v in self.state("classifier/").items()})
        with torch.no_grad():
            self.model.centers[:] = self["centers"].view(2, 128, 128)

    def __getitem__(self, name: str) -> torch.Tensor:
        return torch.from_numpy(self.arrays[name])

    def state(self, prefix: str) -> dict[str, torch.Tensor]:
        return {k.removeprefix(prefix): self[k] for k in self.arrays.files if k.startswith(prefix)}
