"""Waiting that ends."""

import time
from collections.abc import Callable

import pytest


def until(true: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Return as soon as true() is; fail and say what was waited for after `seconds`, of a busy machine."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds:g} s in vain: {what}")
        time.sleep(0.02)
