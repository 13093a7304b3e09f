"""Every benchmark runs, small: what docs/performance.md names can be measured again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
TINY = {
    "store": "--images 40 --cached 16 --size 16 --batch 4 --seconds 0.01 --repeats 2",
    "grouping": "--size 32 --width 2 --findings 2 --batch 1 --repeats 1",
    "prepare": "--images 32 --size 16 --workers 1 --repeats 1",
    "posthoc_stability":
        "--size 32 --images 2 --training-images 40 --training-steps 2 --lime 8 16 --shap 4 8 --steps 2 4",
    "speed inference": "--size 32 --width 2 --repeats 1 --bf16",
    "speed training": "--size 32 --width 2 --repeats 1 --steps 2",
    "speed memory": "--size 32 --width 2 --checkpointing",
    "speed bulk": "--size 32 --width 2 --images 30",
}


@pytest.mark.parametrize("what", TINY)
def test_a_benchmark_runs_and_says_on_what_machine(what):
    name, *arguments = what.split()
    done = subprocess.run(
        [sys.executable, BENCHMARKS / f"{name}.py", *arguments, *TINY[what].split()], text=True, capture_output=True,
        timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr
    assert "'torch'" in done.stdout or '"torch"' in done.stdout


def test_the_measurements_of_a_gpu_run_one_after_another(tmp_path):
    small = "--device cpu --no-compile --size 32 --width 2 --repeats 1 --steps 1 --images 30 --batch 1"
    done = subprocess.run(
        [BENCHMARKS / "gpu.sh", tmp_path / "out", *small.split()], text=True, capture_output=True, timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )
    assert done.returncode == 0, done.stdout
    figures = [json.loads(path.read_text()) for path in (tmp_path / "out").glob("*.json")]
    assert len(figures) == 6 and all(figure["provenance"]["torch"] for figure in figures)
