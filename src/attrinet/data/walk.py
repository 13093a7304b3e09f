"""Where images lie: a folder with all below it, also what links lead to."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path


def encodable(text: object) -> bool:
    """Whether a name can be written to a table: one of a file that is not UTF-8 cannot."""
    try:
        str(text).encode()
    except UnicodeEncodeError:
        return False
    return True


def composed(text: str) -> str:
    """A name as it is compared: ü is one character (NFC), where macOS and its archives have u and two dots."""
    return unicodedata.normalize("NFC", text)


def folders(tops: Iterable[Path]) -> Iterator[tuple[str, list[str]]]:
    """Path of every folder at and below `tops`, and the names in it that are no folders, both sorted.

    Each folder comes once, by its own path before that of a link to it, so links in a circle end. No look at any single
    file.
    """
    waiting, seen = [str(top) for top in tops], set()
    for start in waiting:  # grows by the links that are met
        for parent, below, names in os.walk(start):
            status = os.stat(parent)
            if (own := (status.st_dev, status.st_ino)) in seen:
                below.clear()
                continue
            seen.add(own)
            below.sort()
            waiting += [path for name in below if os.path.islink(path := os.path.join(parent, name))]
            yield parent, sorted(names)


def nameable(tops: Iterable[Path]) -> Iterator[tuple[str, list[str]]]:
    """folders() without the files that no table can name, as their path is not UTF-8."""
    for parent, names in folders(tops):
        yield parent, [name for name in names if encodable(os.path.join(parent, name))]
