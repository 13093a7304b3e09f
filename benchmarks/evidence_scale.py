"""Class sensitivity by the scale at which evidence is summed before its negative part is cut off.

    python benchmarks/evidence_scale.py runs/phantom_64/seed-0/unguided runs/phantom_64/seed-0/resnet:gradcam

Class sensitivity counts positive evidence, pixel by pixel. Where evidence for and against lie side by side, it counts
the one and overlooks the other. Here maps are first summed over cells of side² pixels: 1 is the published measure,
Attri-Net itself decides on cells of its pooling, and the largest cell is the whole image. The next four columns are
evidence an image, in the explainer's own unit: for and against, in the positives and in the negatives of the grids. The
last, of an Attri-Net: the correlation, over all pixels of test images without the finding, of M_c(x) and tanh(x) − x,
which is the map that the paper's output layer makes where the network says nothing.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from attrinet.cli.run_folder import Run, open_run
from attrinet.evaluation.evidence import Evidence
from attrinet.evaluation.predictions import predict
from attrinet.metrics.class_sensitivity import class_sensitivity, draw_grids
from attrinet.nets.attrinet import AttriNet
from attrinet.posthoc.build import build
from attrinet.provenance import provenance


def summed(maps: np.ndarray, side: int) -> np.ndarray:
    """(N, H, W) → (N, H/side, W/side)"""
    count, height, width = maps.shape
    return maps.reshape(count, height // side, side, width // side, side).sum((2, 4), dtype=np.float64)


def measure(run: Run, explainer: str, grids: int) -> tuple[dict[int, float], list[float]]:
    """Class sensitivity by cell side, the mean of the findings; for and against in positives, then in negatives."""
    model, store = run.model, run.store(None)
    rows, thresholds = store.split("test"), model.thresholds.tolist()
    evidence = Evidence(build(explainer, model) if explainer else model, store, batch_size=16)
    probabilities = predict(model, store, rows, 16, False, None)
    sides = [2**k for k in range(store.size.bit_length()) if store.size % 2**k == 0]
    scores, amounts = {side: [] for side in sides}, []
    for c in range(len(store.findings)):
        drawn = draw_grids(store.labels[rows, c], probabilities[:, c], thresholds[c], grids)
        if not len(drawn):
            continue
        images, place = np.unique(drawn, return_inverse=True)
        place = place.reshape(drawn.shape)
        maps = np.concatenate([part for _, part in evidence.maps(rows[images], c)])
        for side in sides:
            scores[side].append(class_sensitivity(summed(maps, side).clip(0).sum((1, 2))[place]).mean)
        amount = [(sign * maps).clip(0).sum((1, 2))[place[:, cells]].mean()
                  for cells in (slice(0, 1), slice(1, None)) for sign in (1, -1)]
        amounts.append(amount)
    return {side: float(np.mean(values)) for side, values in scores.items()}, np.mean(amounts, 0).tolist()


def likeness(run: Run) -> float:
    """The last column, the mean of the findings."""
    model, store = run.model, run.store(None)
    rows, found = store.split("test"), []
    for c in range(len(store.findings)):
        absent = rows[store.labels[rows, c] == 0]
        batches = [store.batch(part) for part in np.array_split(absent, -(-len(absent) // 16))]
        with torch.no_grad():
            maps = torch.cat([model.generator(batch, c)[0] for batch in batches]).flatten()
        images = torch.cat(batches).flatten()
        found.append(np.corrcoef(maps.numpy(), (images.tanh() - images).numpy())[0, 1])
    return float(np.mean(found))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", metavar="RUN[:EXPLAINER]", help="its own evidence without EXPLAINER")
    parser.add_argument("--grids", type=int, default=200)
    arguments = parser.parse_args()
    for number, named in enumerate(arguments.runs):
        path, _, explainer = named.partition(":")
        run = open_run(Path(path))
        scores, amounts = measure(run, explainer, arguments.grids)
        like = f"{likeness(run):.2f}" if isinstance(run.model, AttriNet) and not explainer else "–"
        if number == 0:
            heads = ("run", *(f"{side} px" for side in scores),
                     "for, positives", "against", "for, negatives", "against", "like tanh(x) − x")
            print("| " + " | ".join(heads) + " |\n" + "| --- " * len(heads) + "|")
        cells = (named, *(f"{score:.3f}" for score in scores.values()), *(f"{a:.2f}" for a in amounts), like)
        print("| " + " | ".join(cells) + " |", flush=True)
    made = provenance("cpu")
    print(f"\n{made['device']}, torch {made['torch']}, {made['threads']} thread(s), commit {made['commit']}")


if __name__ == "__main__":
    main()
