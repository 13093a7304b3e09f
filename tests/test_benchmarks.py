"""Every benchmark runs, small: what docs/performance.md names can be measured again."""

import argparse
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from attrinet.train import steps as train_steps

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
    assert len(figures) == 6 and all(figure["provenance"]["torch"] and figure["complete"] for figure in figures)


def test_of_the_measurements_of_a_gpu_some_can_be_named(tmp_path):
    def measure(*parts):
        return subprocess.run(
            [BENCHMARKS / "gpu.sh", tmp_path / "out", *parts, "--device", "cpu", "--size", "32", "--width", "2"],
            text=True, capture_output=True, timeout=300,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"})

    refused = measure("memory", "wings")
    assert refused.returncode == 2 and "wings: none of the parts" in refused.stderr
    assert measure("memory").returncode == 0
    assert [path.name for path in (tmp_path / "out").glob("*.json")] == ["memory.json"]


@pytest.fixture
def speed(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("speed")


def test_what_was_measured_before_a_time_limit_is_kept(speed, tmp_path, monkeypatch):
    def ended(*_):
        raise TimeoutError

    monkeypatch.setattr(speed, "a_run", ended)
    monkeypatch.setattr(sys, "argv", ["speed.py", "training", "--device", "cpu", *TINY["speed training"].split(),
                                      "--out", str(tmp_path / "training.json")])
    with pytest.raises(TimeoutError):
        speed.main()
    figures = json.loads((tmp_path / "training.json").read_text())
    assert figures["seconds a step"]["ours"]["repeats"] == 1 and not figures["complete"]


def test_what_is_compiled_is_not_run_where_its_operations_are_counted(speed, monkeypatch):
    """torch.compile gives a program up that is called under a mode such as the counter's, and later calls run as is."""
    calls = []

    def compiled(function):
        return lambda *arguments: calls.append(function.__name__) or function(*arguments)

    def counted(steps, real=speed.flops):
        before = len(calls)
        found = real(steps)
        assert before and len(calls) == before
        return found

    monkeypatch.setattr(train_steps, "compiles", lambda device: True)
    monkeypatch.setattr(train_steps, "compiler", lambda: compiled)
    monkeypatch.setattr(train_steps, "compile_in_place", lambda module, inference: None)
    monkeypatch.setattr(speed, "flops", counted)
    options = argparse.Namespace(width=2, precision="fp32", run_compile="auto", size=32, repeats=1, wall=True, steps=0)
    (figures,) = speed.training(options, torch.device("cpu"))
    assert set(calls) == {"critic_terms", "judge"} and figures["seconds a step"]


def test_suspicion_of_runs_with_other_findings_stands_under_its_own_finding(tmp_path):
    for name, scores in (("a", {"Edema": 0.1, "Effusion": 0.3}), ("b", {"Effusion": 0.2})):
        (tmp_path / name / "global").mkdir(parents=True)
        table = {finding: {"score": score, "alarm": score > 0.25} for finding, score in scores.items()}
        (tmp_path / name / "global/suspicion.json").write_text(json.dumps(table))
    done = subprocess.run([sys.executable, BENCHMARKS / "summarise.py", "suspicion", "a", "b"], cwd=tmp_path, text=True,
                          capture_output=True)
    assert done.returncode == 0, done.stderr
    head, _, *lines = done.stdout.splitlines()[:4]
    assert head == "| run | Edema | Effusion |"
    assert lines == ["| a | 0.100 | 0.300 **alarm** |", "| b | – | 0.200 |"] and "1 of 3 centres" in done.stdout
