"""LIME (Ribeiro et al., KDD 2016): a linear model of what the classifier says when superpixels are hidden."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from skimage.color import gray2rgb
from skimage.segmentation import quickshift
from sklearn.linear_model import Ridge
from torch import Tensor, nn

from attrinet.posthoc.classifier import checked, device_of, logits, passes

GREY = 0.0  # what hides a superpixel: mid grey, as in the authors' tutorials, whose images are in [-1, 1] as well
KERNEL_WIDTH = 0.25  # of the weight of a sample by its cosine distance; the authors' default for images
AUTHORS_SIZE = 299  # pixels a side of the images that the authors' quickshift settings are for
PUBLISHED_SAMPLES, PUBLISHED_SUPERPIXELS = 100, 50


@dataclass(frozen=True, eq=False)
class Lime:
    """Every pixel gets the weight of its superpixel in a ridge regression of the finding's probability.

    samples: random halves of the superpixels that are hidden; the default, three times the authors', is where two seeds
    agree (benchmarks/posthoc_stability.py). Superpixels, grey, kernel and ridge are those of the authors' package, to
    which the tests compare; not the package itself, which takes colour images only, masks one superpixel at a time and
    prints a progress bar for every image.

    as_published: the Attri-Net paper's setting: softmax across findings, though an image can have several; 100 samples;
    and 1 for each of the 50 superpixels of largest positive weight, 0 elsewhere. Its code also reshapes the perturbed
    (H, W, 3) images to (3, H, W) without moving the axes, then averages over channels and rows, so that its classifier
    saw one row of mixed pixels: that is not reproduced here.
    """

    model: nn.Module
    samples: int = 3000
    batch_size: int = 64
    seed: int = 0
    as_published: bool = False
    name: ClassVar[str] = "LIME"
    device = property(device_of)

    @property
    def cost(self) -> float:
        return float(self._count * passes(self.model))

    @property
    def _count(self) -> int:
        return PUBLISHED_SAMPLES if self.as_published else self.samples

    def attribute(self, images: Tensor, finding: int) -> Tensor:
        """(B, 1, H, W) in [-1, 1], index or name of the finding → (B, H, W), probability a superpixel."""
        images, finding = checked(self.model, images, finding)
        return self._maps(images, [finding])[:, 0]

    def attribute_all(self, images: Tensor) -> Tensor:
        """(B, 1, H, W) in [-1, 1] → (B, C, H, W): attribute() for every finding, from the same samples."""
        images, _ = checked(self.model, images, 0)
        return self._maps(images, range(len(self.model.findings)))

    def _maps(self, images: Tensor, findings: Sequence[int]) -> Tensor:
        maps = np.stack([self._explain(image, findings) for image in images])
        return torch.from_numpy(maps).to(images.device, torch.float32)

    def _explain(self, image: Tensor, findings: Sequence[int]) -> np.ndarray:
        """(1, H, W) → (len(findings), H, W)"""
        segments = superpixels(image[0].cpu().numpy(), self.seed)
        count = segments.max() + 1
        shown = np.random.default_rng(self.seed).integers(0, 2, (self._count, count), dtype=np.uint8).astype(bool)
        shown[0] = True  # the image itself
        probabilities = self._probabilities(image, segments, shown)
        weights = [ridge_weights(shown, probabilities[:, finding]) for finding in findings]
        if self.as_published:
            weights = [strongest(weight) for weight in weights]
        return np.stack(weights)[:, segments]

    def _probabilities(self, image: Tensor, segments: np.ndarray, shown: np.ndarray) -> np.ndarray:
        """(N, C) probability of every finding for every row of shown: (N, K) bool."""
        place = torch.from_numpy(segments).to(image.device)
        answers = []
        for rows in torch.from_numpy(shown).to(image.device).split(self.batch_size):
            perturbed = torch.where(rows[:, place], image, GREY)[:, None]  # (n, 1, H, W)
            answers.append(logits(self.model, perturbed, self.batch_size))
        answers = torch.cat(answers)
        probabilities = answers.softmax(1) if self.as_published else answers.sigmoid()
        return probabilities.double().cpu().numpy()


def superpixels(image: np.ndarray, seed: int = 0) -> np.ndarray:
    """(H, W) in [-1, 1] → (H, W) int labels from 0: quickshift with the authors' settings.

    Their kernel of 4 pixels is scaled with the image, so that the number of superpixels hardly depends on its size.
    """
    kernel = max(1.0, 4 * max(image.shape) / AUTHORS_SIZE)
    colour = gray2rgb((image.clip(-1, 1) + 1) / 2)  # quickshift measures colour in Lab: it wants RGB in [0, 1]
    segments = quickshift(colour, kernel_size=kernel, max_dist=200, ratio=0.2, rng=seed)
    return np.unique(segments, return_inverse=True)[1].reshape(image.shape)


def ridge_weights(shown: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """(K,) weight of every superpixel: ridge regression (α = 1) of probabilities (N,) on shown (N, K) bool, samples
    weighed by exp(−d² / 2·0.25²), d their cosine distance to the whole image."""
    share = shown.mean(1)
    distance = 1 - np.sqrt(share)  # cosine of a 0/1 vector and ones; 1 where all is hidden
    closeness = np.sqrt(np.exp(-(distance**2) / KERNEL_WIDTH**2))
    return Ridge(alpha=1.0).fit(shown, probabilities, sample_weight=closeness).coef_


def strongest(weight: np.ndarray) -> np.ndarray:
    """(K,) → 1 for the superpixels of largest weight, 50 at most, where it is positive; 0 elsewhere."""
    marked = np.argsort(-weight)[:PUBLISHED_SUPERPIXELS]
    return (np.isin(np.arange(len(weight)), marked) & (weight > 0)).astype(float)
