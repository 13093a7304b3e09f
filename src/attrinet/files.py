"""Files that are whole or not there, whatever the moment of a kill and however full the disk; and their checksums."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from attrinet.errors import AttrinetError

AGAIN = "make room or fix the folder, then run the same command again"


def write_atomically(path: Path, write: Callable[[Path], object], remedy: str = AGAIN) -> None:
    """Let `write` fill a hidden file beside `path`, of the same ending, flush it to disk, and rename it to `path`.

    Raises AttrinetError naming `path`, with `remedy`, where the folder is missing or read-only or the disk full; what
    was at `path` stays.
    """
    hidden = path.with_name(f".tmp-{path.name}")
    try:
        write(hidden)
        readable(hidden)
        with open(hidden, "rb") as file:
            os.fsync(file.fileno())
        os.replace(hidden, path)
    except (OSError, SafetensorError) as error:
        hidden.unlink(missing_ok=True)
        raise cannot_write(path, error, remedy) from error


def readable(path: Path) -> None:
    """Let others read a file as they may any new one here: safetensors makes its files for the user alone."""
    beside = path.with_name(f".tmp-mode-{path.name}")
    beside.touch()
    os.chmod(path, beside.stat().st_mode)
    beside.unlink()


@contextmanager
def held(folder: Path, taken: str) -> Iterator[None]:
    """Make a folder and hold it against other processes; the kernel lets go when this one dies.

    Raises AttrinetError where it cannot be made, and, saying that another process `taken`, where it is held.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / ".lock", "w")
    except OSError as error:
        raise AttrinetError(f"{folder}: cannot be written to ({error.strerror}); choose another folder with --out"
                            ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AttrinetError(f"{folder}: another process {taken}") from error
        except OSError as error:
            raise AttrinetError(f"{folder}: cannot be held against other processes ({error.strerror}); choose a folder "
                                "on another disk with --out") from error
        yield


def write_json(path: Path, value: object) -> None:
    """Write a value as indented JSON by write_atomically."""
    write_atomically(path, lambda part: part.write_text(json.dumps(value, indent=2) + "\n"))


def cannot_write(path: Path, error: Exception, remedy: str = AGAIN) -> AttrinetError:
    said = getattr(error, "strerror", None) or error
    return AttrinetError(f"{path}: cannot be written ({said}); what was saved before is untouched: {remedy}")


def checksum(path: Path) -> str:
    """BLAKE2b of a file, read in pieces."""
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()
