"""Which file, or which image, a name in a table means."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import pandas as pd

from attrinet.data.images import bare_name
from attrinet.data.walk import composed, folders
from attrinet.errors import AttrinetError

SEVERAL = ""  # in place of a path: it cannot be told which file is meant


class Paths:
    """Relative paths, to be found by how they end, with or without the suffix of an image."""

    def __init__(self, paths: Iterable[Path]):
        self.paths = list(paths)
        self._whole = self._index(len)
        self._ends: dict[int, dict[str, list[Path]]] = {}

    def levels(self, parts: Sequence[str]) -> Iterator[list[Path]]:
        """Paths that end in these folders and this name; then, folder by folder fewer, those whose all these end in.

        So folders must agree as far as both have some: what lies in other folders is of another patient.
        """
        count = len(parts)
        if count not in self._ends:
            self._ends[count] = self._index(lambda _: count)
        parts = composed("/".join(parts)).split("/")
        yield self._ends[count].get("/".join(parts), [])
        for k in range(1, count):
            yield self._whole.get("/".join(parts[k:]), [])

    def _index(self, count: Callable[[tuple[str, ...]], int]) -> dict[str, list[Path]]:
        """The last `count` parts of a path, with and without suffix → the paths."""
        index: dict[str, list[Path]] = defaultdict(list)
        for path in self.paths:
            parts = path.parts
            if count(parts) <= len(parts):
                for name in {path.name, bare_name(path)}:
                    index[composed("/".join([*parts[len(parts) - count(parts) : -1], name]))].append(path)
        return index


class Files(Paths):
    """The files of a folder and all below it, also behind links. Raises AttrinetError where there is no folder."""

    def __init__(self, folder: Path):
        if not folder.is_dir():
            raise AttrinetError(f"{folder}: no such folder of images")
        self.folder = folder
        super().__init__(Path(os.path.relpath(parent, folder)) / name
                         for parent, names in folders([folder]) for name in names)

    def find(self, asked: str) -> str | None:
        """The one file that `asked` can mean (see levels); None where there is none, SEVERAL where one cannot tell."""
        want = Path(composed(asked))
        parts = [part for part in want.parts if part != os.sep]
        if not parts:
            return None
        found = next(filter(None, self.levels(parts)), [])
        found = ([path for path in found if composed(str(path)) == str(want)] or
                 [path for path in found if composed(path.name) == parts[-1]] or found)
        return None if not found else SEVERAL if len(found) > 1 else str(self.folder / found[0])


def first_missing(names: pd.Series, files: Files) -> str:
    """The first three files that are missing, and one of them that is there with another ending; begins with ": "."""
    if names.empty:
        return ""
    said = ": " + ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    for name in map(Path, names):
        there = files.find(str(name.parent / bare_name(name))) if bare_name(name) != name.name else None
        if there:
            return f"{said}; {Path(there).name} is there, the table says {name.suffix}"
    return said


class Names:
    """Which of the images that are used an annotation means. called: the image column before rows were left out; used:
    of the rows that are left. A name of an image that was left out means none of the others."""

    def __init__(self, called: Sequence[str], used: Sequence[str]):
        self.called = set(called)
        self.row = {name: k for k, name in enumerate(used)}

    @cached_property
    def _paths(self) -> Paths:
        return Paths(map(Path, self.called))

    @cached_property
    def _name_of_path(self) -> dict[Path, str]:
        return {Path(name): name for name in (*self.called, *self.row)}

    def find(self, asked: str) -> int | None:
        """Row of the image; None for one that is not used. Raises ValueError where several are called so."""
        name = self.called_so(asked)
        return None if name is None else self.row.get(name)

    def called_so(self, asked: str) -> str | None:
        """The name of the image, used or not; None where there is none. Raises ValueError where several are meant."""
        asked = composed(asked)
        if asked in self.called:
            return asked
        want = Path(asked)
        found = {path for name in (want.name, bare_name(want))
                 for level in self._paths.levels((*want.parts[:-1], name)) for path in level}
        if len(found) > 1:
            raise ValueError(asked)
        return self._name_of_path[found.pop()] if found else None
