"""The store: a dataset read once, memory-mapped ever after (images.npy, manifest, annotations, meta.json)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from attrinet.data.annotations import rasterise
from attrinet.data.images import to_tensor
from attrinet.errors import AttrinetError

FORMAT = 1


@dataclass
class Store:
    """A prepared dataset. Open it with Store.open; nothing is read but the tables until images are asked for.

    images: (N, size, size) uint8, read-only memory map. manifest: one row an image. annotations: one row a lesion.
    findings: C names. meta: the contents of meta.json.
    """

    path: Path
    images: np.ndarray
    manifest: pd.DataFrame
    annotations: pd.DataFrame
    findings: tuple[str, ...]
    meta: dict
    _masks: dict = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, path: str | Path) -> Store:
        """Raises AttrinetError if the folder is no finished store or its files do not fit together."""
        path = Path(path)
        meta_file = path / "meta.json"
        if not meta_file.exists():
            unfinished = " (one is being prepared there; run the same prepare again)" if path.is_dir() else ""
            raise AttrinetError(f"{path}: no store found{unfinished}; make one with attrinet prepare")
        try:
            meta = json.loads(meta_file.read_text())
            if meta["format"] != FORMAT:
                raise AttrinetError(f"{meta_file}: store format {meta['format']}, this version reads {FORMAT}")
            manifest = pd.read_parquet(path / "manifest.parquet")
            annotations = pd.read_parquet(path / "annotations.parquet")
            images = np.load(path / "images.npy", mmap_mode="r", allow_pickle=False)
            shape = (len(manifest), meta["size"], meta["size"])
            if images.shape != shape or images.dtype != np.uint8:
                raise AttrinetError(f"{path / 'images.npy'}: is {images.dtype} {images.shape}, want uint8 {shape}; "
                                    "the store is damaged, prepare it again")
            return cls(path, images, manifest, annotations, tuple(meta["findings"]), meta)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise AttrinetError(f"{path}: the store is damaged ({error}); prepare it again") from error

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> int:
        """Pixels a side."""
        return self.images.shape[1]

    @property
    def preprocessing(self) -> dict:
        """How an image file must be read to look like the images of this store (keywords of read_image)."""
        return {"intensity": self.meta["intensity"], "keep_aspect": self.meta["keep_aspect"]}

    @cached_property
    def ids(self) -> np.ndarray:
        return self.manifest["id"].to_numpy(dtype=object)

    @cached_property
    def patients(self) -> np.ndarray:
        return self.manifest["patient"].to_numpy(dtype=object)

    @cached_property
    def labels(self) -> np.ndarray:
        """(N, C) float32: 1 present, 0 absent, NaN unknown."""
        return self.manifest[list(self.findings)].astype("Float32").to_numpy(dtype=np.float32, na_value=np.nan)

    def split(self, name: str) -> np.ndarray:
        """Row numbers of a split: train, valid or test."""
        return np.flatnonzero((self.manifest["split"] == name).to_numpy())

    def batch(self, rows: Sequence[int] | np.ndarray) -> Tensor:
        """Images of these rows: float32 (B, 1, size, size) in [-1, 1]."""
        return to_tensor(self.images[np.asarray(rows)])[:, None]

    def mask(self, row: int, finding: int) -> np.ndarray | None:
        """(size, size) bool, union of the annotations of a finding on an image; None where there is none."""
        key = (self.ids[row], self.findings[finding])
        place = self._annotation_rows.get(key)
        if place is None:
            return None
        if key not in self._masks:
            mask = rasterise(self.annotations.iloc[place], self.size, self.meta["keep_aspect"])
            self._masks[key] = np.packbits(mask)  # an eighth of the memory: every annotated image may end up here
        bits = np.unpackbits(self._masks[key], count=self.size**2)
        return bits.reshape(self.size, self.size).astype(bool)

    @cached_property
    def _annotation_rows(self) -> dict[tuple[str, str], np.ndarray]:
        return dict(self.annotations.groupby(["id", "finding"]).indices)

    def select(self, findings: Sequence[str]) -> Store:
        """The same store with only these findings, in this order. Raises AttrinetError for one it lacks."""
        missing = [name for name in findings if name not in self.findings]
        if missing:
            raise AttrinetError(f"{self.path}: has no finding {missing[0]!r}; it has {', '.join(self.findings)}")
        return Store(self.path, self.images, self.manifest, self.annotations, tuple(findings), self.meta)

    def verify(self) -> None:
        """Read every byte and compare with the checksum in meta.json; AttrinetError if anything changed."""
        if checksum(self.path / "images.npy") != self.meta["checksum"]:
            raise AttrinetError(f"{self.path / 'images.npy'}: its checksum is not the one in meta.json; "
                                "the store is damaged, prepare it again")
        if self.manifest["id"].duplicated().any():
            raise AttrinetError(f"{self.path / 'manifest.parquet'}: an image id comes twice")


def checksum(path: Path) -> str:
    """BLAKE2b of a file, read in pieces."""
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()
