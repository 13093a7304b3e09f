"""Who has opened what. Everything is in memory, reachable by the session's random cookie alone, and forgotten.

Only the server's event loop touches these objects.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from attrinet.viewer.limits import Limits
from attrinet.viewer.work import UNFINISHED, Busy, Job


@dataclass
class Opened:
    """An image of a session. image: (size, size) float32 in [-1, 1]. row: its place in the store, None for an upload.
    findings: one future a finding. jobs: post-hoc explanations by (explainer, finding)."""

    name: str
    image: np.ndarray
    row: int | None
    findings: list[Future] = field(default_factory=list)
    jobs: dict[tuple[str, int], Job] = field(default_factory=dict)
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))

    def close(self) -> None:
        """What is still to be computed is not."""
        for future in self.findings:
            future.cancel()
        for job in self.jobs.values():
            job.cancel()


@dataclass
class Session:
    id: str
    seen: float
    images: dict[str, Opened] = field(default_factory=dict)

    def add(self, opened: Opened, keep: int) -> None:
        """The oldest images make room."""
        self.images[opened.id] = opened
        while len(self.images) > keep:
            self.images.pop(next(iter(self.images))).close()

    def busy_jobs(self) -> int:
        return sum(job.state in UNFINISHED for o in self.images.values() for job in o.jobs.values())

    def close(self) -> None:
        for opened in self.images.values():
            opened.close()
        self.images.clear()


class Sessions:
    """All of them. clock: seconds."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic):
        self.limits, self.clock = limits, clock
        self._all: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._all)

    def find(self, id: str | None) -> Session | None:
        """The living session of this id. An id that the server did not give out never becomes one."""
        self.sweep()
        session = self._all.get(id or "")
        if session is not None:
            session.seen = self.clock()
        return session

    def create(self) -> Session:
        """Raises Busy when there are too many."""
        self.sweep()
        if len(self._all) >= self.limits.sessions:
            raise Busy("too many people are using this viewer; try again later")
        session = Session(secrets.token_urlsafe(32), self.clock())
        self._all[session.id] = session
        return session

    def end(self, id: str) -> None:
        session = self._all.pop(id, None)
        if session is not None:
            session.close()

    def sweep(self) -> None:
        """Forget those that were idle too long."""
        oldest = self.clock() - self.limits.idle_seconds
        for id in [s.id for s in self._all.values() if s.seen < oldest]:
            self.end(id)

    def end_all(self) -> None:
        for id in list(self._all):
            self.end(id)
