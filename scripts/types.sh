#!/usr/bin/env bash
# mypy --strict on the public surface: attrinet/__init__, protocols, errors, losses, guidance, nets, metrics, data.
# Modules that do not pass yet stand in pyproject.toml under [[tool.mypy.overrides]], to be taken out one by one.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-.venv/bin/python}" -m mypy --config-file pyproject.toml "$@" \
  src/attrinet/{__init__,protocols,errors,losses,guidance}.py src/attrinet/{nets,metrics,data}
