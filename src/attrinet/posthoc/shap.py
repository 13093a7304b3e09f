"""SHAP (Lundberg and Lee, NeurIPS 2017) by Partition SHAP: Owen values of a hierarchy of image parts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np
import shap
import torch
from scipy.ndimage import uniform_filter
from torch import Tensor, nn

from attrinet.errors import AttrinetError
from attrinet.posthoc.classifier import checked, device_of, logit

BLUR = 128 / 224  # side of the box that blurs what is hidden, as a share of the image's
PUBLISHED_EVALUATIONS = 1000


@dataclass(frozen=True, eq=False)
class Shap:
    """shap.PartitionExplainer on the finding's logit; hidden parts are blurred; sums to logit(x) − logit(all blurred).

    As in the package's own PyTorch image notebook: logits, a box blur of 128 in 224 pixels, 10,000 evaluations.
    Inpainting, its other masker, works on 8-bit images only. The package needs numba: the first of a process compiles
    for seconds. evaluations: even, 4 or more; the parts are split further the more there are.

    as_published: the Attri-Net paper's setting: 1,000 evaluations, and a blur as wide as the image.
    """

    model: nn.Module
    evaluations: int = 10_000
    batch_size: int = 64
    seed: int = 0
    as_published: bool = False
    name: ClassVar[str] = "SHAP"
    device = property(device_of)

    def __post_init__(self):
        if self.evaluations < 4 or self.evaluations % 2:
            raise AttrinetError(f"evaluations={self.evaluations}: SHAP needs an even number, 4 or more")
        compile_shap()

    @property
    def cost(self) -> float:
        return float(PUBLISHED_EVALUATIONS if self.as_published else self.evaluations)

    def attribute(self, images: Tensor, finding: int) -> Tensor:
        """(B, 1, H, W) in [-1, 1], index or name of the finding → (B, H, W), logits a pixel."""
        images, finding = checked(self.model, images, finding)
        maps = [self._explain(image, finding) for image in images[:, 0].cpu().numpy()]
        return torch.from_numpy(np.stack(maps)).to(images.device, torch.float32)

    def _explain(self, image: np.ndarray, finding: int) -> np.ndarray:
        @torch.no_grad()
        def answer(pixels: np.ndarray) -> np.ndarray:  # (n, H, W, 1) → (n,)
            batch = torch.from_numpy(pixels[..., 0])[:, None].to(self.device)
            found = [logit(self.model, chunk, finding) for chunk in batch.split(self.batch_size)]
            return torch.cat(found).double().cpu().numpy()

        masker = shap.maskers.Image(blurred(image, 1.0 if self.as_published else BLUR)[..., None])
        explainer = shap.PartitionExplainer(answer, masker)
        with _seeded(self.seed):
            found = explainer(image[None, ..., None], max_evals=int(self.cost), batch_size=self.batch_size, silent=True)
        return found.values[0].reshape(image.shape)


@cache
def compile_shap() -> None:
    """Before the first map, whose time is measured: one of a model that says nothing."""
    image = np.zeros((2, 2, 1), np.float32)
    explain = shap.PartitionExplainer(lambda pixels: np.zeros(len(pixels)), shap.maskers.Image(image))
    with _seeded(0):
        explain(image[None], max_evals=4, batch_size=4, silent=True)


def blurred(image: np.ndarray, share: float) -> np.ndarray:
    """(H, W) → (H, W): mean over a box of this share of the image, mirrored at the border (OpenCV's blur)."""
    return uniform_filter(image, [max(1, round(share * side)) for side in image.shape], mode="mirror")


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """shap breaks ties by NumPy's global random numbers; they are put back as they were."""
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)
