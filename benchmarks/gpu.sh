#!/usr/bin/env bash
# Every figure of a GPU that docs/performance.md asks for, the cheap ones first; a part that fails does not end the rest.
#
#     benchmarks/gpu.sh FOLDER [PART]... [options of speed.py]    # → FOLDER/training.json, …; what each prints, beside it
#     benchmarks/gpu.sh figures memory training                   # two of them; all, if none is named
#
# Parts: memory, inference_1, inference_16, bulk, eager, training. None takes ten minutes; one that its time limit ends
# leaves what it had measured, with "complete": false. Needs torch for CUDA with Triton and the package's dependencies;
# the package itself may be a bare source tree.
set -uo pipefail
declare -A limit=([memory]=200 [inference_1]=200 [inference_16]=240 [bulk]=240 [eager]=300 [training]=540) # seconds
declare -A call=(
    [memory]="memory --precision bf16"
    [inference_1]="inference --batch 1 --bf16 --compile --repeats 5"
    [inference_16]="inference --batch 16 --bf16 --compile --repeats 5"
    [bulk]="bulk --precision bf16 --images 1500 --repeats 1"
    [eager]="training --precision bf16 --run-compile never --repeats 3"
    [training]="training --precision bf16 --steps 100 --repeats 3"
)
parts=() failed=0
out=$(mkdir -p "$1" && cd "$1" && pwd)
shift
while [[ $# -gt 0 && $1 != -* ]]; do
    [[ -v call[$1] ]] || { echo "$1: none of the parts ${!call[*]}" >&2; exit 2; }
    parts+=("$1")
    shift
done
[[ ${#parts[@]} -gt 0 ]] || parts=(memory inference_1 inference_16 bulk eager training)
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}"

for part in "${parts[@]}"; do
    echo "== $part"
    # shellcheck disable=SC2086
    if timeout "${limit[$part]}" python3 benchmarks/speed.py ${call[$part]} --device cuda "$@" --out "$out/$part.json" \
        >"$out/$part.txt" 2>&1; then
        grep '^|' "$out/$part.txt" || cat "$out/$part.txt"
    else
        failed=1
        tail -n 5 "$out/$part.txt"
        echo "== $part failed"
    fi
done
exit "$failed"
