"""How many model calls until a post-hoc map is stable? On a small CNN trained on phantoms, at any image size.

    python benchmarks/posthoc_stability.py --size 128 --images 4

LIME: rank correlation of two seeds' maps. SHAP: of a map with the map of the most evaluations. Integrated Gradients:
|sum − (logit(x) − logit(black))| in logits. Each is the median over images and findings, and the lowest or highest.
"""

import argparse
import statistics

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import nn

from attrinet.data.images import to_tensor, to_uint8
from attrinet.data.phantom import FINDINGS, phantom
from attrinet.posthoc.integrated_gradients import BLACK, IntegratedGradients
from attrinet.posthoc.lime import Lime
from attrinet.posthoc.shap import Shap
from attrinet.provenance import provenance


class SmallCnn(nn.Sequential):
    """Four strided convolutions, global mean, linear: enough to read phantoms."""

    findings = FINDINGS

    def __init__(self, width: int = 16):
        widths = [1, width, 2 * width, 4 * width, 4 * width]
        stages = [layer for a, b in zip(widths, widths[1:], strict=False)
                  for layer in (nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU())]
        super().__init__(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], len(FINDINGS)))


def phantoms(count: int, size: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, 1, size, size) in [-1, 1] and labels (N, C)."""
    drawn = [phantom(seed, index, size) for index in range(count)]
    images = to_tensor(np.stack([to_uint8(one.image) for one in drawn]))[:, None]
    return images, torch.from_numpy(np.stack([one.labels for one in drawn])).float()


def trained(images: torch.Tensor, labels: torch.Tensor, steps: int, device: str) -> SmallCnn:
    torch.manual_seed(0)
    model = SmallCnn().to(device)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(steps):
        rows = torch.randint(len(images), (32,))
        loss = F.binary_cross_entropy_with_logits(model(images[rows].to(device)), labels[rows].to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def agreement(one: torch.Tensor, two: torch.Tensor) -> list[float]:
    """Spearman's rank correlation of every pair of maps."""
    return [spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(one.cpu(), two.cpu(), strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128, help="pixels a side")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--training-images", type=int, default=600)
    parser.add_argument("--training-steps", type=int, default=400)
    parser.add_argument("--lime", type=int, nargs="*", default=[100, 300, 1000, 3000, 10_000])
    parser.add_argument("--shap", type=int, nargs="*", default=[100, 500, 1000, 3000, 10_000, 20_000])
    parser.add_argument("--steps", type=int, nargs="*", default=[8, 16, 32, 64, 128, 256])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()

    print(provenance(arguments.device))
    model = trained(*phantoms(arguments.training_images, arguments.size, 0), arguments.training_steps, arguments.device)
    x = phantoms(arguments.images, arguments.size, 1)[0].to(arguments.device)
    every = range(len(FINDINGS))

    for samples in arguments.lime:
        found = [r for c in every for r in agreement(*(Lime(model, samples, seed=s).attribute(x, c) for s in (1, 2)))]
        print(f"LIME, {samples} samples: two seeds agree by {statistics.median(found):.3f} (lowest {min(found):.3f})")
    if arguments.shap:
        best = [Shap(model, max(arguments.shap)).attribute(x, c) for c in every]
    for calls in sorted(arguments.shap)[:-1]:
        found = [r for c in every for r in agreement(Shap(model, calls).attribute(x, c), best[c])]
        print(f"SHAP, {calls} evaluations: agrees by {statistics.median(found):.3f} (lowest {min(found):.3f}) "
              f"with {max(arguments.shap)}")
    with torch.no_grad():
        rise = model(x) - model(torch.full_like(x, BLACK))
    for steps in arguments.steps:
        sums = torch.stack([IntegratedGradients(model, steps).attribute(x, c).sum((1, 2)) for c in every], 1)
        error = (sums - rise).abs().flatten().tolist()
        print(f"Integrated Gradients, {steps} steps: off by {statistics.median(error):.4f} (most {max(error):.4f}) of "
              f"{rise.abs().median():.2f} logits")


if __name__ == "__main__":
    main()
