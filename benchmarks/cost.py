"""What does Attri-Net cost against image size, findings, batch and width? Measured, and fitted by a power law.

    python benchmarks/cost.py --out docs/cost.json --figure docs/images/cost.svg

One of the four varies, the others stay at BASE. A dot is the median of five repeats, its bar the lowest and highest;
processor time of all threads, which does not count what other programs of the machine take.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from attrinet import AttriNet
from attrinet.provenance import provenance

BASE = {"size": 192, "findings": 5, "batch": 1, "width": 64}
RANGE = {"size": (64, 96, 128, 192, 256, 320), "findings": (1, 2, 5, 10, 14), "batch": (1, 2, 4, 8),
         "width": (8, 16, 32, 64)}
AXES = {"size": "image size (pixels a side)", "findings": "findings", "batch": "images a batch", "width": "channels"}
REPEATS = 5


@torch.no_grad()
def cost(size: int, findings: int, batch: int, width: int) -> dict:
    """Seconds (REPEATS of them) and FLOP of explaining one batch in float32."""
    torch.manual_seed(0)
    model = AttriNet([f"finding {k}" for k in range(findings)], size, width=width, critic=False).eval()
    x = torch.rand(batch, 1, size, size) * 2 - 1
    with torch.enable_grad(), FlopCounterMode(display=False) as counter:  # with a gradient, convolution is direct
        model.generator(x[:1], 0)
    model.attribution_maps(x)  # warms up
    seconds = []
    for _ in range(REPEATS):
        start = time.process_time()
        model.attribution_maps(x)
        seconds.append(time.process_time() - start)
    return {"seconds": seconds, "FLOP": counter.get_total_flops() * findings * batch}


def exponent(values: tuple[int, ...], amounts: list[float]) -> tuple[float, float]:
    """k and a of amount = a · valueᵏ, by least squares of the logarithms."""
    k, a = np.polyfit(np.log(values), np.log(amounts), 1)
    return float(k), float(np.exp(a))


def measure() -> dict:
    out = {}
    for name, values in RANGE.items():
        rows = []
        for value in values:
            rows.append({"value": value, **cost(**BASE | {name: value})})
            print(name, value, f"{np.median(rows[-1]['seconds']):.3f} s", file=sys.stderr)
        k, a = exponent(values, [float(np.median(row["seconds"])) for row in rows])
        work, _ = exponent(values, [row["FLOP"] for row in rows])
        out[name] = {"rows": rows, "exponent": k, "factor": a, "exponent of FLOP": work}
    return out


def draw(result: dict, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 4, figsize=(13, 3.4), constrained_layout=True)
    for axis, (name, found) in zip(axes, result.items(), strict=True):
        values = np.array([row["value"] for row in found["rows"]])
        seconds = np.array([row["seconds"] for row in found["rows"]])
        middle = np.median(seconds, 1)
        axis.errorbar(values, middle, np.abs(np.stack([seconds.min(1), seconds.max(1)]) - middle), fmt="o", capsize=3)
        axis.plot(values, found["factor"] * values ** found["exponent"], "--", color="0.4",
                  label=f"~ {name}$^{{{found['exponent']:.2f}}}$")
        axis.set(xscale="log", yscale="log", xlabel=AXES[name])
        axis.set_xticks(values, [str(v) for v in values])
        nice = np.array([digit * 10.0**k for k in range(-4, 4) for digit in (1, 2, 5)])
        nice = nice[(nice > seconds.min() / 1.3) & (nice < seconds.max() * 1.3)]
        axis.set_yticks(nice, [f"{v:g}" for v in nice])
        axis.minorticks_off()
        axis.legend(frameon=False)
    axes[0].set_ylabel("seconds a batch")
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    result = measure()
    facts = {"command": " ".join(["python benchmarks/cost.py", *sys.argv[1:]]), "base": BASE, "repeats": REPEATS,
             "provenance": provenance(torch.device("cpu")), "seed": 0}
    options.out.write_text(json.dumps(facts | result, indent=1) + "\n")
    if options.figure:
        draw(result, options.figure)
    print("| against | seconds grow by | FLOP grow by |\n| --- | --- | --- |")
    for name, found in result.items():
        print(f"| {name} | {name}^{found['exponent']:.2f} | {name}^{found['exponent of FLOP']:.2f} |")


if __name__ == "__main__":
    main()
