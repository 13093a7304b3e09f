"""One thread that works for everybody, fairly, and the jobs that it can be asked about and told to stop."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

import numpy as np

from attrinet.errors import AttrinetError

UNFINISHED = ("waiting", "running")
ABANDONED = 120  # seconds; a page asks every second, or every minute where its tab is hidden


class Busy(AttrinetError):
    """Too much is waiting already; try again later."""


class Worker:
    """One thread, so that a model is asked one thing at a time. What has the smaller `turn` goes first: everybody's
    first finding before anybody's second."""

    def __init__(self, name: str, waiting: int):
        self._queue: queue.PriorityQueue = queue.PriorityQueue(waiting)
        self._number = itertools.count()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, turn: int, call: Callable) -> Future:
        """Raises Busy when too much is waiting."""
        future: Future = Future()
        try:
            self._queue.put_nowait((turn, next(self._number), future, call))
        except queue.Full as error:
            raise Busy("the viewer is busy; try again in a minute") from error
        return future

    def stop(self) -> None:
        """Ends the thread after what it is doing; what waits is never done."""
        while True:
            try:
                self._queue.get_nowait()[2].cancel()
            except queue.Empty:
                break
        self._queue.put((-1, next(self._number), None, None))

    def _run(self) -> None:
        while True:
            _, _, future, call = self._queue.get()
            if future is None:
                return
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(call())
            except BaseException as error:
                future.set_exception(error)
            del future, call  # else the last image of an ended session would live until the next call


class Cancelled(Exception):
    """Raised inside a job that nobody wants any more."""


class Job:
    """One post-hoc explanation: where it stands, and a way to stop it between two passes of the model.

    It also stops when nobody has asked about it for ABANDONED seconds: a closed page does not say goodbye."""

    def __init__(self, passes: float, clock: Callable[[], float] = time.monotonic):
        self.passes, self.done, self.clock = passes, 0, clock
        self.state, self.message = "waiting", ""
        self.map: np.ndarray | None = None
        self.started = self.asked = clock()
        self._stop = threading.Event()

    def run(self, explain: Callable[[Callable[[int], None]], np.ndarray]) -> None:
        """explain: gets tick, to be called with the number of images that go through the model; returns (H, W)."""
        try:
            self.tick(0)
            self.state, self.started = "running", self.clock()
            found = explain(self.tick)
            self.tick(0)
            self.map, self.state = found, "done"
        except Cancelled:
            self.state = "cancelled"
        except AttrinetError as error:
            self.state, self.message = "failed", str(error)
        except Exception:
            self.state, self.message = "failed", "this method failed on this image; the server's terminal says more"
            raise

    def tick(self, images: int) -> None:
        if self._stop.is_set() or self.clock() - self.asked > ABANDONED:
            raise Cancelled
        self.done += images

    def cancel(self) -> None:
        """What is done stays done."""
        self._stop.set()
        if self.state in UNFINISHED:
            self.state = "cancelled"

    def report(self) -> dict:
        """State, share done in [0, 1], seconds left as far as one can tell."""
        self.asked = self.clock()
        share = min(self.done / self.passes, 0.99) if self.passes else 0.0
        left = None
        if self.state == "running" and share > 0.02:
            left = (self.clock() - self.started) * (1 - share) / share
        return {"state": self.state, "share": 1.0 if self.state == "done" else share, "seconds_left": left,
                "message": self.message}
