"""Image files of strangers are read in a process of their own: a decoder that hangs, crashes or eats memory takes
nothing else with it."""

from __future__ import annotations

import multiprocessing
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np

from attrinet.errors import AttrinetError
from attrinet.processes import deaf_to_ctrl_c
from attrinet.viewer.limits import Limits

# children are forked from a process that has imported the decoders and nothing of the model or the sessions
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["attrinet.viewer.decode", "attrinet.data.images"])


def warm_up() -> None:
    """Start the process that the readers are forked from and wait for its imports, which no image has the time for."""
    process = PROCESSES.Process(target=int)
    with deaf_to_ctrl_c():
        process.start()
    process.join()


def decode(path: Path, name: str, reader: Callable, limits: Limits) -> np.ndarray:
    """File → (size, size) float32 in [-1, 1], read by the model's `reader` within the limits.

    name: what the user calls the file, for messages. Raises AttrinetError in one line, whatever the bytes are.
    """
    receiver, sender = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=_read, args=(str(path), reader, limits, sender), daemon=True)
    try:
        process.start()
        sender.close()
        if not receiver.poll(limits.decode_seconds):
            raise AttrinetError(f"{name}: not read within {limits.decode_seconds:g} seconds; is it a plain radiograph?")
        answer = receiver.recv_bytes()
    except EOFError as error:
        raise AttrinetError(f"{name}: the file made the image reader crash or run out of memory; it was not "
                            "opened") from error
    finally:
        if process.pid is not None:
            process.kill()
            process.join()
        receiver.close()
    if answer[:1] != b"+":
        raise AttrinetError(answer[1:].decode().replace(str(path), name))
    pixels = np.frombuffer(answer, np.float32, offset=1)
    side = round(len(pixels) ** 0.5)
    return pixels.reshape(side, side)


def _read(path: str, reader: Callable, limits: Limits, sender) -> None:
    """In the child: confine, read, answer "+" and pixels or "-" and a message."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's to handle
    _confine(limits)
    try:
        answer = b"+" + np.ascontiguousarray(reader(path).numpy(), np.float32).tobytes()
    except Exception as error:
        lack = isinstance(error, MemoryError) or isinstance(error.__cause__, MemoryError)
        if lack:
            message = f"{path}: needs more than {limits.decode_bytes >> 20} MB of memory to be read; it was not opened"
        else:
            message = str(error) if isinstance(error, AttrinetError) else f"{path}: not a readable image"
        answer = b"-" + " ".join(message.split()).encode(errors="replace")
    sender.send_bytes(answer)


def _confine(limits: Limits) -> None:
    """Memory on top of what the imports hold already, processor time, and no core dump, which would keep the image."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        held = int(statm.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + limits.decode_bytes,) * 2)
    seconds = max(1, round(limits.decode_seconds))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
