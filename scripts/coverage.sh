#!/usr/bin/env bash
# Line and branch coverage of nets, losses, guidance, metrics and data by the tests that are about them; fails where one
# of them has less than 90 %. Writes build/coverage.json.
set -euo pipefail
cd "$(dirname "$0")/.."
parts=(nets losses guidance metrics data)
# A folder, not a package: to find a package, coverage imports it and forgets it again, which PyTorch does not survive.
.venv/bin/pytest -n auto --dist loadfile tests/nets tests/metrics tests/data tests/train tests/test_losses.py \
  tests/test_guidance.py tests/test_authors_checkpoint.py tests/cli/test_prepare_command.py \
  --cov=src/attrinet --cov-branch --cov-report=json:build/coverage.json --cov-report=
.venv/bin/python - "${parts[@]}" <<'PYTHON'
import collections, json, sys
found = collections.defaultdict(lambda: [0, 0])
for path, file in json.load(open("build/coverage.json"))["files"].items():
    part, total = path.split("attrinet/")[1].split("/")[0].removesuffix(".py"), file["summary"]
    found[part][0] += total["covered_lines"] + total["covered_branches"]
    found[part][1] += total["num_statements"] + total["num_branches"]
for part in sys.argv[1:]:
    print(f"{part:10} {found[part][0] / found[part][1]:.1%} of {found[part][1]} lines and branches")
sys.exit(any(covered < 0.9 * total for covered, total in map(found.get, sys.argv[1:])))
PYTHON
