#!/usr/bin/env bash
# Makes .venv and installs attrinet into it with the pinned versions it was tested with; on Python 3.11 (3.11.5 on) every file but
# PyTorch's is checked against the hashes of requirements/locked*.txt (scripts/lock.sh).
# usage: scripts/setup.sh [EXTRA]   (EXTRA: dev for the test suite)
# PyTorch: uv picks the CPU build where there is no GPU and the CUDA build where there is one; where uv cannot reach
# PyTorch's own wheels, pip takes the build that this machine's pip is set up for.
set -euo pipefail
cd "$(dirname "$0")/.."
extra=${1:-}
stamp=.venv/.installed-${extra:-base}
if [ -e "$stamp" ] && [ ! pyproject.toml -nt "$stamp" ] && [ ! requirements/constraints.txt -nt "$stamp" ] && [ ! "requirements/locked${extra:+-$extra}.txt" -nt "$stamp" ]; then exit 0; fi

python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "attrinet needs Python 3.10 or newer; set PYTHON=…" >&2; exit 2; }
[ -x .venv/bin/python ] || "$python" -m venv .venv
pip() { .venv/bin/python -m pip --disable-pip-version-check -q "$@"; }

torch=$(grep '^torch==' requirements/constraints.txt)
if ! .venv/bin/python -c "import torch, sys; sys.exit('$torch'.split('==')[1] != torch.__version__.split('+')[0])" 2>/dev/null; then
  echo "attrinet: installing $torch"
  pip install uv -c requirements/constraints.txt 2>/dev/null || true
  UV_HTTP_RETRIES=1 .venv/bin/python -m uv pip install -q --python .venv/bin/python --torch-backend=auto "$torch" 2>/dev/null \
    || pip install "$torch"
fi
echo "attrinet: installing the package${extra:+ with [$extra]}"
isolation=
if .venv/bin/python -c 'import sys; sys.exit(not (3, 11, 5) <= sys.version_info < (3, 12) or sys.platform != "linux")'; then
  pip install --no-deps --require-hashes -r "requirements/locked${extra:+-$extra}.txt"
  isolation=--no-build-isolation  # what builds it is locked too
fi
pip install $isolation -c requirements/constraints.txt -e ".${extra:+[$extra]}"
touch "$stamp"
