"""Worker processes that do not outlive the one that started them."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from attrinet.errors import AttrinetError


@contextmanager
def pool(workers: int, start: Callable, arguments: tuple) -> Iterator[ProcessPoolExecutor]:
    """Processes that each call start(*arguments) once, then take tasks. Raises AttrinetError where one dies."""
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(workers, context, _start, (start, *arguments)) as processes:
            yield processes
    except BrokenProcessPool as error:
        raise AttrinetError("a worker process died (out of memory?); nothing done so far is lost: run the same command "
                            "again, with fewer --workers") from error


def _start(start: Callable, *arguments) -> None:
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    start(*arguments)


def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
