"""Is it faster to explain the findings of an image one after another, or in one pass? A ratio, measured in one run.

    python benchmarks/grouping.py --size 320 --width 64 --device cpu
"""

import argparse
import statistics
import time

import torch

from attrinet import AttriNet
from attrinet.provenance import provenance

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--size", type=int, default=320, help="pixels a side")
parser.add_argument("--width", type=int, default=64)
parser.add_argument("--findings", type=int, default=5)
parser.add_argument("--batch", type=int, nargs="+", default=[1, 4])
parser.add_argument("--repeats", type=int, default=5)
parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
arguments = parser.parse_args()

torch.manual_seed(0)
model = AttriNet([f"finding {k}" for k in range(arguments.findings)], arguments.size, width=arguments.width,
                 critic=False).to(arguments.device).eval()
print(provenance(arguments.device))
for batch in arguments.batch:
    x = torch.rand(batch, 1, arguments.size, arguments.size, device=arguments.device) * 2 - 1
    times = {1: [], arguments.findings: []}
    for repeat in range(arguments.repeats + 1):
        for group, measured in times.items():
            model.findings_per_pass = group
            start = time.perf_counter()
            model.attribution_maps(x)[0].sum().item()
            if repeat:  # the first warms up
                measured.append(time.perf_counter() - start)
    ratios = [together / apart for apart, together in zip(*times.values(), strict=True)]
    apart = statistics.median(times[1])
    print(f"batch {batch}: one after another {apart / batch:.3f} s an image; in one pass takes "
          f"{statistics.median(ratios):.2f} times as long (from {min(ratios):.2f} to {max(ratios):.2f}, "
          f"{arguments.repeats} repeats)")
