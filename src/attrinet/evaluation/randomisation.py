"""Does the explanation depend on what the model has learned? (Adebayo et al. 2018)"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from attrinet.evaluation.evidence import Evidence
from attrinet.evaluation.intervals import by_finding
from attrinet.evaluation.scope import Scope
from attrinet.metrics.randomisation import similarity
from attrinet.protocols import Explainer

IMAGES = 8  # a finding


def randomised(model: nn.Module, seed: int) -> nn.Module:
    """A copy whose weights are shuffled within every tensor: as large as the trained ones, in no order.

    All layers at once, the last stage of the paper's cascade. Normalisation keeps its running statistics.
    """
    out = copy.deepcopy(model)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in out.parameters():
            order = torch.randperm(weight.numel(), generator=random).to(weight.device)
            weight.copy_(weight.flatten()[order].view_as(weight))
    return out


def randomisation_section(
    scope: Scope, evidence: Evidence, model: nn.Module, rebuild: Callable[[nn.Module], Explainer], progress: bool
) -> dict:
    """Spearman correlation of the maps of the trained and of the randomised model: finding, and "mean" → interval.
    blank: how many of these maps are left out, as one of the two ranks nothing."""
    disk = evidence.disk.beside("randomised") if evidence.disk else None
    other = Evidence(rebuild(randomised(model, scope.seed)), scope.store, evidence.batch_size, disk=disk)
    store, parts = scope.store, []
    rows = scope.sample(scope.rows, min(IMAGES, scope.limit or IMAGES))
    with tqdm(total=len(store.findings) * len(rows), desc="randomising", unit="image", disable=not progress) as bar:
        for c, name in enumerate(store.findings):
            for (chunk, maps), (_, changed) in zip(evidence.maps(rows, c), other.maps(rows, c, bar), strict=True):
                parts.append(pd.DataFrame(
                    {"id": store.ids[chunk], "finding": name, "spearman": similarity(maps, changed)}
                ))
    table = pd.concat(parts, ignore_index=True)
    found = {name: values["spearman"] for name, values in by_finding(scope, table, ["spearman"]).items()}
    return {**found, "images": len(np.unique(rows)), "maps": len(table), "blank": int(table["spearman"].isna().sum())}
