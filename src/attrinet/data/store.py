"""The store: a dataset read once, memory-mapped ever after (images.npy, manifest, annotations, meta.json)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import torch
from pyarrow import parquet
from torch import Tensor
from tqdm import tqdm

from attrinet.data.annotations import rasterise
from attrinet.data.images import look_up, on_device, upload
from attrinet.data.source import ANNOTATION_COLUMNS, MANIFEST_COLUMNS, SPLITS
from attrinet.errors import AttrinetError
from attrinet.files import checksum

FORMAT = 1
HELD_AT_ONCE = 1024  # images copied to a device in one message
TABLES = ("manifest.parquet", "annotations.parquet")
WORKING_FILES = ("done.npy", "errors.jsonl", "recipe.json")  # of prepare, which deletes them at the end
FACTS = ("size", "findings", "intensity", "keep_aspect", "checksum")  # of meta.json, without which no store can be used


@dataclass
class Store:
    """A prepared dataset. Open it with Store.open, which takes as long for a million images as for one.

    images: (N, size, size) uint8, read-only memory map. findings: C names. meta: the contents of meta.json. The tables
    manifest (one row an image) and annotations (one row a lesion) are read when they are first asked for.
    """

    path: Path
    images: np.ndarray
    findings: tuple[str, ...]
    meta: dict
    _masks: dict = field(default_factory=dict, repr=False)
    _held: Tensor | None = field(default=None, repr=False)

    @classmethod
    def open(cls, path: str | Path) -> Store:
        """Raises AttrinetError if the folder is no finished store or its files do not fit together."""
        path = Path(path)
        meta_file = path / "meta.json"
        if not meta_file.exists():
            begun = Path(f"{path}.partial").is_dir() or any((path / name).exists() for name in WORKING_FILES)
            unfinished = " (one is being prepared there; run the same prepare again)" if begun else ""
            raise AttrinetError(f"{path}: no store found{unfinished}; make one with attrinet prepare")
        try:
            meta = json.loads(meta_file.read_text())
            if meta["format"] != FORMAT:
                raise AttrinetError(f"{meta_file}: store format {meta['format']}, this version reads {FORMAT}")
            missing = [name for name in FACTS if name not in meta]
            if missing:
                raise AttrinetError(f"{meta_file}: has no {missing[0]!r}; the store is damaged, delete it and prepare "
                                    "it again")
            count, _ = (parquet.read_metadata(path / name).num_rows for name in TABLES)
            images = np.load(path / "images.npy", mmap_mode="r", allow_pickle=False)
            shape = (count, meta["size"], meta["size"])
            if images.shape != shape or images.dtype != np.uint8:
                raise AttrinetError(f"{path / 'images.npy'}: is {images.dtype} {images.shape}, want uint8 {shape}; "
                                    "the store is damaged, delete it and prepare it again")
            return cls(path, images, tuple(meta["findings"]), meta)
        except AttrinetError:
            raise
        except Exception as error:  # readers raise whatever they like on damaged bytes
            reason = " ".join(str(error).split())[:200]
            raise AttrinetError(f"{path}: the store is damaged ({reason}); delete it and prepare it again") from error

    def __len__(self) -> int:
        return len(self.images)

    def __reduce__(self) -> tuple:
        """A pickle names the folder: another process, of a DataLoader say, maps the images instead of copying them."""
        return _open, (self.path.absolute(), self.findings)

    @property
    def size(self) -> int:
        """Pixels a side."""
        return self.images.shape[1]

    @property
    def preprocessing(self) -> dict:
        """How an image file must be read to look like the images of this store (keywords of read_image)."""
        return {"intensity": self.meta["intensity"], "keep_aspect": self.meta["keep_aspect"]}

    @property
    def names_patients(self) -> bool:
        """False where the data name none: every image counts as a patient of its own then. Tables' stores of earlier
        versions do not say it."""
        return self.meta.get("options", {}).get("patient") is None

    @cached_property
    def manifest(self) -> pd.DataFrame:
        """One row an image: id, source, patient, split, view, and 1, 0 or <NA> for every finding."""
        return self._table("manifest.parquet", (*MANIFEST_COLUMNS, *self.findings))

    @cached_property
    def annotations(self) -> pd.DataFrame:
        """One row a lesion, see source.Source."""
        return self._table("annotations.parquet", ANNOTATION_COLUMNS)

    def _table(self, name: str, columns: tuple[str, ...]) -> pd.DataFrame:
        try:
            table = pd.read_parquet(self.path / name)
            for column in columns:  # Arrow reads text that is no text, and complains when it is looked at
                table[column].to_numpy(float if column in self.findings else object, na_value=np.nan)
            return table
        except Exception as error:  # as above
            reason = " ".join(str(error).split())[:200]
            raise AttrinetError(f"{self.path / name}: is damaged ({reason}); delete the store and prepare it "
                                "again") from error

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
        """Row numbers of a split: train, valid or test. Raises AttrinetError for another name."""
        if name not in SPLITS:
            raise AttrinetError(f"split {name!r}: there are {', '.join(SPLITS)}")
        return np.flatnonzero((self.manifest["split"] == name).to_numpy())

    def chosen(self, split: str, where: Sequence[str]) -> np.ndarray:
        """Row numbers of a split whose manifest columns have the values of all conditions COLUMN=VALUE. Raises
        AttrinetError for a condition that is none."""
        keep = (self.manifest["split"] == split).to_numpy()
        for condition in where:
            column, sign, value = condition.partition("=")
            if not sign or column not in self.manifest.columns:
                wrong = f"there is no column {column!r}" if sign else "want COLUMN=VALUE"
                raise AttrinetError(f"--where {condition}: {wrong}; the columns are "
                                    f"{', '.join(map(str, self.manifest.columns))}")
            keep = keep & (self.manifest[column].astype("string") == value).fillna(False).to_numpy(bool)
        return np.flatnonzero(keep)

    def batch(self, rows: Sequence[int] | np.ndarray, device: torch.device | str = "cpu") -> Tensor:
        """Images of these rows: float32 (B, 1, size, size) in [-1, 1], made on `device` of the bytes read.

        Reading is fast, making floats on the CPU is not (benchmarks/store.py): ask for the device here instead of
        moving the batch there.
        """
        place, held = torch.device(device), self._held
        if held is not None and place.type == held.device.type and place.index in (None, held.device.index):
            return look_up(held[upload(np.asarray(rows), held.device)])[:, None]
        return on_device(self.images[np.asarray(rows)], device)[:, None]

    def hold(self, device: torch.device | str, progress: bool = False) -> None:
        """Copy all images, as uint8, to the memory of `device`, from where batch() takes them there from now on: what
        it returns stays the same to the last bit. Raises AttrinetError where they do not fit."""
        try:
            held = torch.empty(self.images.shape, dtype=torch.uint8, device=device)
        except RuntimeError as error:  # also of a GPU: torch.OutOfMemoryError
            raise AttrinetError(f"{self.path}: its images, {self.images.nbytes / 1e9:.1f} GB, do not fit into the "
                                f"memory of {device}; leave them on disk (data.resident=never)") from error
        starts = range(0, len(self), HELD_AT_ONCE)
        for start in tqdm(starts, desc=f"images to {device}", disable=not progress, dynamic_ncols=True, leave=False):
            part = np.array(self.images[start : start + HELD_AT_ONCE])
            held[start : start + len(part)].copy_(torch.from_numpy(part))
        self._held = held

    def mask(self, row: int, finding: int) -> np.ndarray | None:
        """(size, size) bool, union of the annotations of a finding on an image; None where there is none."""
        key = (self.ids[row], self.findings[finding])
        place = self._annotation_rows.get(key)
        if place is None:
            return None
        if key not in self._masks:
            try:
                mask = rasterise(self.annotations.iloc[place], self.size, self.meta["keep_aspect"])
            except AttrinetError as error:
                raise AttrinetError(f"{self.path / 'annotations.parquet'}: {error}") from error
            self._masks[key] = np.packbits(mask)  # an eighth of the memory: every annotated image may end up here
        bits = np.unpackbits(self._masks[key], count=self.size**2)
        return bits.reshape(self.size, self.size).astype(bool)

    @cached_property
    def _annotation_rows(self) -> dict[tuple[str, str], np.ndarray]:
        indices = self.annotations.groupby(["id", "finding"]).indices
        return cast(dict[tuple[str, str], np.ndarray], indices)

    def select(self, findings: Sequence[str]) -> Store:
        """The same store with only these findings, in this order. Raises AttrinetError for one it lacks."""
        missing = [name for name in findings if name not in self.findings]
        if missing:
            raise AttrinetError(f"{self.path}: has no finding {missing[0]!r}; it has {', '.join(self.findings)}; use "
                                "one of these, or prepare another store with --rename FINDING=NAME")
        part = Store(self.path, self.images, tuple(findings), self.meta)
        part.manifest, part.annotations, part._held = self.manifest, self.annotations, self._held
        return part

    def truth(self, rows: np.ndarray) -> str:
        """Checksum of what these images are judged by: ids, patients, splits, labels of all findings, annotations.

        The same for two stores made of the same files at different places; another for other labels or annotations.
        """
        known = self.manifest.iloc[rows][["id", "patient", "split", *self.meta["findings"]]]
        drawn = self.annotations.loc[self.annotations["id"].isin(known["id"]), list(ANNOTATION_COLUMNS)]
        digest = hashlib.blake2b(digest_size=16)
        for table in (known, drawn):
            digest.update("\n".join(table.columns).encode())
            digest.update(pd.util.hash_pandas_object(table.astype("string"), index=False).to_numpy().tobytes())
        return digest.hexdigest()

    def require_judged(self, metrics: Mapping, evaluation: Path) -> None:
        """Raise AttrinetError where metrics.json of the folder `evaluation` is of other images, labels, annotations or
        splits than this store holds."""
        if self.meta["checksum"] != metrics["store_checksum"]:
            raise AttrinetError(f"{self.path}: holds other images than {evaluation} was made of, on "
                                f"{metrics['store']}; name that store, or run attrinet evaluate again")
        truth = self.truth(self.chosen(metrics["split"], metrics["where"]))
        if metrics.get("truth_checksum", truth) != truth:
            raise AttrinetError(f"{self.path}: holds other labels, annotations or another split than {evaluation} was "
                                f"made of, on {metrics['store']}; name that store, or run attrinet evaluate again")

    @cached_property
    def identity(self) -> dict[str, str]:
        """Checksums of images and truth: the same for a store that was moved, or made again of the same files."""
        return {"images": self.meta["checksum"], "truth": self.truth(np.arange(len(self)))}

    def verify(self) -> None:
        """Read every byte of images and tables and compare with the checksums in meta.json.

        Needs the store alone, not what it was made of. Raises AttrinetError naming the first file that changed.
        """
        tables = self.meta.get("tables")
        if not isinstance(tables, dict) or set(tables) != set(TABLES):
            raise AttrinetError(f"{self.path}: meta.json has no checksums of the tables; delete the store and prepare "
                                "it again")
        for name, before in {"images.npy": self.meta["checksum"], **tables}.items():
            if checksum(self.path / name) != before:
                raise AttrinetError(f"{self.path / name}: its checksum is not the one in meta.json; "
                                    "the store is damaged, delete it and prepare it again")
        if self.manifest["id"].duplicated().any():
            raise AttrinetError(f"{self.path / 'manifest.parquet'}: an image id comes twice")


def _open(path: Path, findings: tuple[str, ...]) -> Store:
    return Store.open(path).select(findings)
