"""Worker processes that leave Ctrl-C to the one that started them, and do not outlive it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection

from attrinet.errors import AttrinetError


@contextmanager
def pool(workers: int, start: Callable, arguments: tuple) -> Iterator[ProcessPoolExecutor]:
    """Processes that each call start(*arguments) once, then take tasks.

    An exception in the body, Ctrl-C too, ends them at once, whatever they are at, as the end of this process does.
    Raises AttrinetError where one dies.
    """
    context = multiprocessing.get_context("spawn")
    alive, ours = context.Pipe(duplex=False)
    try:
        with alive, ours, _Processes(workers, context, _start, (alive, start, *arguments)) as processes:
            try:
                yield processes
            except BaseException:
                ours.close()
                raise
    except BrokenProcessPool as error:
        raise AttrinetError("a worker process died (out of memory?); nothing done so far is lost: run the same command "
                            "again, with fewer --workers") from error


@contextmanager
def deaf_to_ctrl_c() -> Iterator[None]:
    """Processes started in here never hear of Ctrl-C, which a terminal sends to all of them, even while they import.

    What Ctrl-C does here, it does when the block ends. Only its own children inherit a thread's mask.
    """
    resource_tracker.ensure_running()  # started later, by the first process, it would open the mask
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with _postponed():
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def _postponed() -> Iterator[None]:
    """Ctrl-C interrupts the main thread at the end of the block, also where another thread's mask let it through."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: heard.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if heard.is_set():
            signal.raise_signal(signal.SIGINT)


class _Processes(ProcessPoolExecutor):
    def submit(self, fn: Callable, /, *args, **kwargs) -> Future:
        with deaf_to_ctrl_c():  # a process is started by the first task there is no idle one for
            return super().submit(fn, *args, **kwargs)


def _start(alive: Connection, start: Callable, *arguments) -> None:
    threading.Thread(target=_end_with_parent, args=(alive,), daemon=True).start()
    start(*arguments)


def _end_with_parent(alive: Connection) -> None:
    alive.poll(None)  # nothing is ever sent: the other end was closed, or its process has ended
    os._exit(1)
