#!/usr/bin/env bash
# Every figure of a GPU that docs/performance.md asks for, in a quarter of an hour; a part that fails does not end the rest.
#
#     benchmarks/gpu.sh FOLDER [options of speed.py]    # → FOLDER/training.json, …; what each prints, beside it
#
# Needs torch for CUDA with Triton and the package's dependencies; the package itself may be a bare source tree.
set -uo pipefail
out=$(mkdir -p "$1" && cd "$1" && pwd) more=("${@:2}") failed=0
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}"

measure() { # name, seconds it may take, what speed.py is called with
    echo "== $1"
    local call=("${@:3}" --device cuda "${more[@]}" --out "$out/$1.json")
    if timeout "$2" python3 benchmarks/speed.py "${call[@]}" >"$out/$1.txt" 2>&1; then
        grep '^|' "$out/$1.txt" || cat "$out/$1.txt"
    else
        failed=1
        tail -n 5 "$out/$1.txt"
        echo "== $1 failed"
    fi
}

measure training 240 training --precision bf16 --steps 100 --repeats 3
measure inference_16 150 inference --batch 16 --bf16 --compile --repeats 5
measure inference_1 100 inference --batch 1 --bf16 --compile --repeats 5
measure bulk 120 bulk --precision bf16 --images 1500 --repeats 1
measure memory 60 memory --precision bf16
measure eager 150 training --precision bf16 --run-compile never --repeats 3
exit "$failed"
