#!/usr/bin/env bash
# Runs the test suite with the lowest version of every dependency that pyproject.toml allows, in build/lowest.
# PyTorch alone is the tested one: its older CPU builds are not in every registry. The test tools are the newest.
# usage: scripts/lowest.sh [PYTEST ARGUMENT…]
set -euo pipefail
cd "$(dirname "$0")/.."
uv=${UV:-.venv/bin/uv} venv=build/lowest
torch=$(grep '^torch==' requirements/constraints.txt)
extras=(--extra dicom --extra posthoc --extra export --extra viewer --extra hub --extra backbones)
python=${PYTHON:-.venv/bin/python}
[ -x $venv/bin/python ] || "$python" -m venv $venv
pip() { "$uv" pip "$@" -q --python $venv/bin/python; }
"$uv" pip compile -q pyproject.toml "${extras[@]}" --resolution lowest-direct --python-version 3.11 --no-header \
  --no-annotate --override <(echo "$torch") | grep -vE '^(torch|nvidia|cuda|triton)' > $venv/lowest.txt
$venv/bin/python -m pip --disable-pip-version-check install -q "$torch"
sed -n '/^dev = \[/,/^\]/p' pyproject.toml | grep -oE '^ +"[^";]+' | tr -d ' "' | grep -v '^attrinet' \
  > $venv/tools.txt # whatever the Python: the oldest Starlette asks by the older of two test clients
pip install -r $venv/lowest.txt -r $venv/tools.txt --override $venv/lowest.txt
pip install --no-deps --no-build-isolation -e .
grep -E "^($(sed -n '/^dependencies = \[/,/^hub = /p' pyproject.toml | grep -oE '^ +"[a-zA-Z0-9_-]+' | tr -d ' "' | paste -sd'|'))==" \
  $venv/lowest.txt | paste -sd' '
exec $venv/bin/python -m pytest "$@"
