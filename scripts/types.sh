#!/usr/bin/env bash
# mypy --strict on the public surface: attrinet/__init__, protocols, errors, losses, guidance, nets, metrics, data.
# No module is excepted. Part of make test; a second run takes what it knows from build/mypy.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-.venv/bin/python}" -m mypy --config-file pyproject.toml "$@" \
  src/attrinet/{__init__,protocols,errors,losses,guidance}.py src/attrinet/{nets,metrics,data}
