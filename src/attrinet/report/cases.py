"""Pictures of single images for a report: explained in full, side by side, or against known lesions."""

from __future__ import annotations

import numpy as np
import pandas as pd

from attrinet.data.store import Store
from attrinet.report import figures
from attrinet.report.examples import Example, Failures, located, located_extremes


def explained(model, store: Store, row_of: dict, example: Example) -> dict:
    """One picture: lines for the findings that are called or present, the example's own first.

    A model that has no explanation of its own shows the image alone.
    """
    row = row_of[example.id]
    images = store.batch([row])
    present = [f for c, f in enumerate(model.findings) if store.labels[row, c] == 1]
    said = {"why": example.why, "id": example.id, "present": ", ".join(present) or "none of the findings"}
    if not hasattr(model, "explain"):
        mask = store.mask(row, model.findings.index(example.finding))
        fig = figures.cases_figure(images[0].numpy(), None, [mask], [probability(model, images, example)], columns=1)
        return said | {"picture": figures.data_uri(fig), "outlined": mask is not None}
    out = model.explain(images)
    own = model.findings.index(example.finding)
    shown = [own] + [
        c for c in range(len(model.findings)) if c != own and (out.called[0, c] or store.labels[row, c] == 1)
    ]
    masks = {c: m for c in shown if (m := store.mask(row, c)) is not None}
    if hasattr(out, "counterfactual"):
        fig = figures.explanation_figure(images[0, 0].numpy(), out, 0, shown, masks)
    else:
        fig = figures.contributions_figure(images[0, 0].numpy(), out, 0, shown)
        masks = {}
    return said | {"picture": figures.data_uri(fig), "outlined": bool(masks)}


def probability(model, images, example: Example) -> str:
    c = model.findings.index(example.finding)
    return f"{example.finding}\np = {float(model.logits(images.to(model.device))[0, c].sigmoid()):.2f}"


def contributions(model, images, finding: int) -> np.ndarray | None:
    """(B, H, W) signed contributions to a logit; None where the model has none."""
    if not hasattr(model, "attribute"):
        return None
    return model.attribute(images.to(model.device), finding).detach().float().cpu().numpy()


def cases_picture(model, store: Store, row_of: dict, failures: Failures) -> dict[str, str | bool | None]:
    """The false negatives and the false positives of one finding, each a picture; None where there are none.

    outlined: whether any shows a known lesion.
    """
    c, out = model.findings.index(failures.finding), {"outlined": False}
    for kind, cases in (("missed", failures.missed), ("alarms", failures.alarms)):
        out[kind] = None
        if cases:
            rows = [row_of[id] for id, _ in cases]
            x, masks = store.batch(rows), [store.mask(row, c) for row in rows]
            fig = figures.cases_figure(
                x[:, 0].numpy(), contributions(model, x, c), masks, [f"{id}\np = {p:.2f}" for id, p in cases],
            )
            out[kind] = figures.data_uri(fig)
            out["outlined"] |= any(mask is not None for mask in masks)
    return out


def evidence_picture(model, store: Store, row_of: dict, localisation: pd.DataFrame) -> str | None:
    """True positives at even ranks of disease sensitivity."""
    chosen = located(localisation, model.findings, each=2 if len(model.findings) <= 5 else 1)
    return against_lesions(model, store, row_of, chosen, columns=5)


def located_picture(model, store: Store, row_of: dict, localisation: pd.DataFrame) -> str | None:
    """The true positives whose evidence lies best, and below them those whose evidence lies worst."""
    chosen = located_extremes(localisation, model.findings)
    return against_lesions(model, store, row_of, chosen, columns=max(len(chosen) // 2, 1))


def against_lesions(model, store: Store, row_of: dict, chosen: pd.DataFrame, columns: int) -> str | None:
    if chosen.empty or not hasattr(model, "attribute"):
        return None
    images, evidence, masks, captions = [], [], [], []
    for item in chosen.itertuples():
        row, c = row_of[item.id], model.findings.index(item.finding)
        x = store.batch([row])
        images.append(x[0, 0].numpy())
        evidence.append(contributions(model, x, c)[0].clip(min=0))
        masks.append(store.mask(row, c))
        captions.append(f"{item.finding}\n{item.inside:.0%} in {item.area:.1%} of the area")
    fig = figures.evidence_figure(np.stack(images), np.stack(evidence), np.stack(masks), captions, columns)
    return figures.data_uri(fig)
