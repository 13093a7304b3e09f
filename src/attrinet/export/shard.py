"""One shard of explanations on disk: predictions as Parquet, contributions as NPZ, at the memory of one batch."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from attrinet.data.store import Store
from attrinet.files import write_atomically
from attrinet.metrics.calls import called

NAMES = (("contributions", "npz"), ("predictions", "parquet"))  # folder and ending, in the order of writing
DTYPES = ("float32", "float16")


def write_shard(model, store: Store, rows: np.ndarray, files: Sequence[Path], dtype: str, batch: int) -> None:
    """Explain the images `rows` and write both files, each whole or not at all.

    contributions/NNNNN.npz: ids (N,), findings (C,), bias (C,), contributions (N, C, H, W) in logits a pixel, so that
    bias + their sum is the logit. dtype "float16" stores them divided by `scale` (N, C), the largest of each map in
    magnitude: a value is off by at most 2⁻¹¹ (0.05 %) of itself, or by 2⁻²⁵ of the scale where that is more.
    predictions/NNNNN.parquet: a line an (image, finding) with label, logit, probability and call.

    Raises AttrinetError naming the file where the disk is full or the folder gone.
    """
    logits, rest = [], {"ids": store.ids[rows].astype(str), "findings": np.array(store.findings)}

    def contributions() -> Iterator[np.ndarray]:
        scales = []
        for start in range(0, len(rows), batch):
            out = model.explain(store.batch(rows[start : start + batch], model.device))
            maps = out.contributions
            if dtype == "float16":
                scale = maps.abs().amax((2, 3))
                maps = (maps / torch.where(scale > 0, scale, 1)[..., None, None]).half()
                scales.append(scale.cpu().numpy())
            logits.append(out.logits.cpu().numpy())
            yield maps.cpu().numpy()
        rest["bias"] = out.bias.cpu().numpy()
        if scales:
            rest["scale"] = np.concatenate(scales)

    shape = (len(rows), len(store.findings), store.size, store.size)
    arrays, table = files
    write_atomically(arrays, lambda path: stream_npz(path, "contributions", shape, dtype, contributions(), rest))
    answers = predictions(model, store, rows, np.concatenate(logits))
    write_atomically(table, lambda path: answers.to_parquet(path, index=False))


def predictions(model, store: Store, rows: np.ndarray, logits: np.ndarray) -> pd.DataFrame:
    """One row an (image, finding): id, patient, finding, label, logit, probability, called."""
    count = len(store.findings)
    probabilities = 1 / (1 + np.exp(-logits.astype(np.float64)))
    return pd.DataFrame({
        "id": np.repeat(store.ids[rows], count),
        "patient": np.repeat(store.patients[rows], count),
        "finding": np.tile(np.array(store.findings, dtype=object), len(rows)),
        "label": pd.array(store.labels[rows].ravel(), dtype="Float32").astype("Int8"),
        "logit": logits.ravel(),
        "probability": probabilities.astype(np.float32).ravel(),
        "called": called(probabilities, model.thresholds.cpu().numpy()).ravel(),
    })


def stream_npz(
    path: Path, name: str, shape: tuple[int, ...], dtype: str, parts: Iterator[np.ndarray],
    rest: Mapping[str, np.ndarray],
) -> None:
    """An NPZ whose array `name` comes in parts; `rest`, the other arrays, is read when all parts have come."""
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        with archive.open(f"{name}.npy", "w", force_zip64=True) as file, ThreadPoolExecutor(1) as writer:
            np.lib.format.write_array_header_1_0(file, header)
            written: list[Future] = []
            for part in parts:  # the next is made, in this thread, while one is written: CUDA graphs know no other
                for before in written:
                    before.result()
                written = [writer.submit(file.write, np.ascontiguousarray(part).data)]
            for last in written:
                last.result()
        for other, values in rest.items():
            with archive.open(f"{other}.npy", "w") as file:
                np.lib.format.write_array(file, values, allow_pickle=False)
