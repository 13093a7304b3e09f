"""What the model says about one finding of one image, as numbers that a page can show and add up."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from attrinet.baselines.baseline import Baseline
from attrinet.baselines.bcos import BcosResNet50
from attrinet.nets.attrinet import AttriNet

SHOWN_CELLS = 10
GRID = 10  # cells a side that a B-cos network's contributions are summed over: the paper's, of Attri-Net


@dataclass(frozen=True)
class Finding:
    """said: JSON-able. map: (H, W) float32, M_c(x) of Attri-Net, contributions of B-cos, None of a ResNet."""

    said: dict
    map: np.ndarray | None


@torch.no_grad()
def explain_finding(model: AttriNet | Baseline, image: np.ndarray, finding: int) -> Finding:
    """image: (H, W) in [-1, 1]. One finding at a time: a page can show the first while the others are computed."""
    started = time.perf_counter()
    x = torch.from_numpy(image.copy())[None, None].to(model.device)
    if isinstance(model, AttriNet):
        shown, arithmetic = _of_attrinet(model, x, finding)
    elif isinstance(model, BcosResNet50):
        shown, arithmetic = _of_bcos(model, x, finding)
    else:
        shown, arithmetic = None, {"logit": float(model.logits(x)[0, finding])}
    threshold = float(model.thresholds[finding])
    probability = float(torch.tensor(arithmetic["logit"]).sigmoid())
    said = {
        "finding": finding, "name": model.findings[finding], **arithmetic, "probability": probability,
        "threshold": threshold, "called": probability >= threshold,
        "margin": arithmetic["logit"] - logit(threshold), "seconds": time.perf_counter() - started,
    }
    return Finding(said, shown)


def logit(probability: float) -> float:
    """Log odds, of probabilities at 0 and 1 those a millionth away."""
    p = min(max(probability, 1e-6), 1 - 1e-6)
    return math.log(p / (1 - p))


def _of_attrinet(model: AttriNet, x: Tensor, c: int) -> tuple[np.ndarray, dict]:
    """Equation 4, written out: bias + Σ over cells of weight · mean change = logit, in float64 as the model does."""
    maps = model.generator(x, c)[0]
    change = F.avg_pool2d(maps.double(), model.geometry.pool)[0, 0].cpu().numpy()
    weight = model.weight_map(c).double().cpu().numpy()
    bias = float(model.classifiers[c].bias)
    return maps[0, 0].cpu().numpy(), add_up(bias, weight * change, change, weight)


def _of_bcos(model: BcosResNet50, x: Tensor, c: int) -> tuple[np.ndarray, dict]:
    out = model.attribute(x, c)[0].cpu().numpy()
    edges = np.linspace(0, len(out), GRID + 1).round().astype(int)[:-1]
    cells = np.add.reduceat(np.add.reduceat(out.astype(np.float64), edges, 0), edges, 1)
    return out, add_up(float(model.bias), cells)


def add_up(
    bias: float, products: np.ndarray, change: np.ndarray | None = None, weight: np.ndarray | None = None
) -> dict:
    """bias, the strongest of the (h, w) cells' logits, the rest of them in one number, and their sum."""
    strongest = np.argsort(-np.abs(products), axis=None, kind="stable")[:SHOWN_CELLS]
    cells = []
    for place in strongest:
        row, column = (int(v) for v in np.unravel_index(place, products.shape))
        cell = {"row": row, "column": column, "logits": float(products[row, column])}
        if change is not None:
            cell |= {"change": float(change[row, column]), "weight": float(weight[row, column])}
        cells.append(cell)
    total = float(products.sum())
    return {"bias": bias, "cells": cells, "grid": products.shape[0], "others": products.size - len(cells),
            "others_logits": total - sum(cell["logits"] for cell in cells), "logit": float(np.float32(bias + total))}
