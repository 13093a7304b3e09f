"""Maps that are dear, on disk until their evaluation is done: what was stopped or killed goes on with them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from attrinet.files import write_atomically

DEAR = 100  # predictions a map
ROOM = 8 << 30  # bytes of maps in one folder; what does not fit is made again after a kill


@dataclass(frozen=True)
class KeptMap:
    """map: (H, W) float32. seconds, cost: that it took."""

    map: np.ndarray
    seconds: float
    cost: float


class KeptMaps:
    """One file a map, under `folder`, which is made with the first. Whoever names the folder sees to it that only maps
    of the same model, explainer and store come there."""

    def __init__(self, folder: Path):
        self.folder = folder

    def beside(self, name: str) -> KeptMaps:
        """Another set of maps, in a folder of this one's."""
        return KeptMaps(self.folder / name)

    def path(self, row: int, finding: int) -> Path:
        return self.folder / f"{finding}-{row}.npz"

    def read(self, row: int, finding: int) -> KeptMap | None:
        """None where it is not there, or damaged."""
        try:
            with np.load(self.path(row, finding), allow_pickle=False) as file:
                return KeptMap(file["map"], float(file["seconds"]), float(file["cost"]))
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return None

    def keep(self, row: int, finding: int, kept: KeptMap) -> None:
        """Raises AttrinetError where it cannot be written."""
        self.folder.mkdir(parents=True, exist_ok=True)
        size = kept.map.nbytes + 1024
        if sum(1 for _ in self.folder.iterdir()) * size < ROOM:
            write_atomically(self.path(row, finding), partial(_save, kept))


def _save(kept: KeptMap, path: Path) -> None:
    np.savez(path, map=kept.map, seconds=kept.seconds, cost=kept.cost)
