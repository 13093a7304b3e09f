"""Memory that a training step gives back is kept for the next one, where the C library is glibc.

glibc maps every tensor above 32 MB afresh and the kernel zeroes it page by page: at 320 × 320 on a CPU that is half of
a step's time (benchmarks/speed.py training). A setting of the process, so programs make it (the CLI), not libraries.
"""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h


def keep_freed_memory() -> None:
    """Let large tensors reuse memory of this process that is free. Peak memory can grow by about a third.

    Does nothing where the C library is another one than glibc.
    """
    _set(mapped=0, trim=2**31 - 1)


def give_back_freed_memory() -> None:
    """glibc's own behaviour, for comparisons."""
    _set(mapped=65536, trim=64 * 2**20)


def _set(mapped: int, trim: int) -> None:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(M_MMAP_MAX, mapped)
    mallopt(M_TRIM_THRESHOLD, trim)
