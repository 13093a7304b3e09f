#!/usr/bin/env bash
# Writes requirements/locked.txt and locked-dev.txt: every package of the tested set (constraints.txt) with the hashes of
# its files. Run it after a change of pyproject.toml or requirements/constraints.txt.
# Left out are PyTorch and what its builds bring along (CUDA libraries, Triton): its CPU and CUDA builds share a version
# but not a hash, and which of them is right depends on the machine. constraints.txt pins its version.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=${UV:-.venv/bin/uv}
[ -x "$uv" ] || { echo "lock: uv not found at $uv; run make test first, or set UV=…" >&2; exit 2; }
pins=$(mktemp)
trap 'rm -f "$pins"' EXIT
sed 's/ *;.*//' requirements/constraints.txt > "$pins"
lock() {
  file=$1; shift
  build=requirements/build.in
  compile() {
    "$uv" pip compile pyproject.toml $build "${extras[@]}" -c "$pins" --generate-hashes --python-version 3.11.5 -q \
      --python-platform x86_64-manylinux_2_28 --no-header --no-annotate --no-emit-index-url --no-emit-find-links "$@"
  }
  extras=("$@"); set --
  skip=(--no-emit-package torch)
  for name in $(compile | grep -oE '^(nvidia|cuda|triton)[a-z0-9-]*' | sort -u); do skip+=(--no-emit-package "$name"); done
  { echo "# Written by scripts/lock.sh; not to be edited. Python 3.11.5 or a later 3.11, Linux; all but PyTorch, see there."
    compile "${skip[@]}"; } > "$file.tmp"
  mv "$file.tmp" "$file"
}
lock requirements/locked.txt
lock requirements/locked-dev.txt --extra dev
