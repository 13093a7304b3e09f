"""SIGKILL in every phase of every command: given again, it leaves what an undisturbed run leaves (nightly.py)."""

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("nightly.py")


def test_a_kill_in_every_phase_costs_nothing(tmp_path):
    done = subprocess.run([sys.executable, SCRIPT, "--short", "--out", tmp_path / "r.json"], capture_output=True,
                          text=True, timeout=900, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    results = json.loads((tmp_path / "r.json").read_text())["results"]
    assert [r["job"] for r in results] == ["prepare", "train", "evaluate", "evaluate-dear", "explain", "explain-store"]
    assert all(r["kills"] >= 2 and r["files compared"] >= 3 and not r["files that differ"] for r in results)
