"""Fixtures every test may use."""

import signal
from pathlib import Path

import pytest
import torch

# what starts the tests may ignore or block these (a shell, in the background), and what they start inherits it
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
torch.set_num_threads(1)  # tiny networks: more threads only get into each other's way

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with the reference numbers, real radiographs and label tables; not part of the repository."""
    if not SHARED.is_dir():
        pytest.skip(f"reference data not found at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def reference(shared):
    """The authors' networks, inputs and outputs (tests/reference.py)."""
    from reference import Reference

    return Reference(shared)
