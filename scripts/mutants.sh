#!/usr/bin/env bash
# Mutation testing of losses, guidance and metrics with mutmut, in a copy of the last commit under build/mutants;
# what was tested there is not tested again. Writes docs/mutants.json and docs/mutants.md.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD work=$PWD/build/mutants
mkdir -p "$work"
[ -d "$work/site/mutmut" ] || .venv/bin/uv pip install -q --python .venv/bin/python --target "$work/site" 'mutmut>=3.8,<4'
[ -d "$work/repo" ] || git clone -q "$root" "$work/repo"
git -C "$work/repo" fetch -q && git -C "$work/repo" reset -q --hard FETCH_HEAD
cd "$work/repo"
export OMP_NUM_THREADS=1 PYTHONPATH="$work/site"
"$root/.venv/bin/python" -m mutmut run --max-children "${WORKERS:-1}" || true
"$root/.venv/bin/python" scripts/mutants.py collect
cp docs/mutants.json docs/mutants.md "$root/docs/"
