"""Label tables: what they must hold, uncertain labels, and splits that keep patients apart."""

from __future__ import annotations

import difflib
import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from attrinet.data.source import ANNOTATION_COLUMNS, MANIFEST_COLUMNS, SPLITS, Source
from attrinet.data.walk import composed, encodable
from attrinet.errors import AttrinetError

UNCERTAIN = ("zeros", "ones", "ignore")
NO_PATIENTS = "not named: every image counts as a patient of its own, so one patient may be in several splits"
"""Under "patient" among a Source's options, where the data name none; see Store.names_patients."""
MEAN = "mean"  # what evaluations call the mean over findings


def uncertain_to_label(column: pd.Series, policy: str) -> pd.Series:
    """Labels 1, 0, −1 (uncertain), blank → Int8 1, 0, <NA>; blank stays <NA>.

    policy for −1: zeros (the paper), ones, ignore (<NA>: left out of that finding's loss), as CheXpert's U-Zeros,
    U-Ones and U-Ignore (Irvin et al., 2019). Raises AttrinetError naming the column, and the line as first_line does,
    for other values.
    """
    if policy not in UNCERTAIN:
        raise AttrinetError(f"uncertain={policy!r}: choose one of {', '.join(UNCERTAIN)}")
    values = pd.to_numeric(column, errors="coerce")
    wrong = column.notna() & ~values.isin([0, 1, -1])
    if wrong.any():
        raise AttrinetError(f"line {first_line(wrong)}: column {column.name!r} holds {str(column[wrong].iloc[0])!r}; "
                            "labels are 1, 0, -1 (uncertain) or blank")
    replacement: Any = {"zeros": 0, "ones": 1, "ignore": pd.NA}[policy]
    return values.astype("Int8").replace(-1, replacement).astype("Int8")


def policy_for(uncertain: str | Mapping[str, str], finding: str) -> str:
    """One policy for all findings, or one a finding; findings not named take zeros."""
    return uncertain if isinstance(uncertain, str) else uncertain.get(finding, "zeros")


def split_by_patient(
    patients: Sequence[str] | pd.Series | np.ndarray, fractions: Mapping[str, float], seed: int
) -> np.ndarray:
    """Split name of every row, whole patients only, at about these fractions of patients.

    Depends on seed and patient names, not on row order: patients are ranked by a keyed hash of their name.
    """
    unique = sorted(set(map(str, patients)))
    total = sum(fractions.values())
    if not unique or not 0 < total < math.inf or min(fractions.values()) < 0:
        raise AttrinetError(f"split fractions {dict(fractions)}: must not be negative, and add up to more than 0")
    ranked = sorted(unique, key=lambda p: hashlib.blake2b(f"{seed}/{p}".encode(), digest_size=8).digest())
    edges = np.round(np.cumsum(list(fractions.values())) / total * len(ranked)).astype(int)
    place = np.searchsorted(edges, np.arange(len(ranked)), side="right")
    names = list(fractions)
    of = {patient: names[k] for patient, k in zip(ranked, place, strict=True)}
    return np.array([of[str(p)] for p in patients], dtype=object)


def first_line(rows: pd.Series) -> int:
    """Line of a file (its header is line 1) of the first row that is True; the index counts the file's rows from 0."""
    return int(rows.index[int(rows.to_numpy(bool, na_value=False).argmax())]) + 2


def need_columns(frame: pd.DataFrame, columns: Iterable[str], where: str, advice: str = "") -> None:
    """Raise AttrinetError naming a missing column, the nearest present one, the advice and all others."""
    for column in columns:
        if column not in frame.columns:
            spelled = {str(name).casefold(): str(name) for name in frame.columns}
            near = difflib.get_close_matches(column.casefold(), spelled, 1, cutoff=0.8)
            hints = [f"did you mean {spelled[near[0]]!r}?"] if near else []
            present = "it has " + ", ".join(map(str, list(frame.columns)[:30]))
            raise AttrinetError("; ".join([f"{where}: no column {column!r}", *hints, *filter(None, [advice]), present]))


def known(option: str, given: Iterable[str], choices: Sequence[str]) -> None:
    """Raise AttrinetError naming a value that is none of the choices, the nearest that is and all others."""
    for name in given:
        if name not in choices:
            near = difflib.get_close_matches(str(name), choices, 1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise AttrinetError(f"{option}: {name!r} is unknown; {hint}There are {', '.join(choices)}")


def leave_out(
    frame: pd.DataFrame, rows: pd.Series, reason: str, excluded: Counter[str], reasons: dict[int, str] | None = None
) -> pd.DataFrame:
    """The frame without the rows (bool, one a row) that are left out for `reason`, which `excluded` counts and
    `reasons` keeps by the frame's index."""
    excluded[reason] += int(rows.sum())
    if reasons is not None:
        reasons |= dict.fromkeys(frame.index[rows.to_numpy(bool)], reason)
    return frame[~rows]


def by_name(reasons: Mapping[int, str], ids: pd.Series) -> list[tuple[str, str]]:
    """Source.left_out, in the order of the rows: ids has one of every row that there was."""
    return [(str(ids[k]), reasons[k]) for k in sorted(reasons)]


def counted(excluded: Mapping[str, int]) -> str:
    """How many were left out and why, for messages."""
    return ", ".join(f"{count} {reason}" for reason, count in excluded.items() if count) or "none left out"


def one_row_an_image(
    frame: pd.DataFrame, where: str, excluded: Counter[str], reasons: dict[int, str]
) -> pd.DataFrame:
    """The frame without rows that say the same again, which go to `excluded` and `reasons` (leave_out).

    Raises AttrinetError, with `where` the rows come from, for an image of which two rows say different things.
    """
    frame = leave_out(frame, frame.duplicated(), "duplicate row", excluded, reasons)
    twice = frame["id"].duplicated()
    if twice.any():
        raise AttrinetError(f"{where}: two rows say different things of the image {frame['id'][twice].iloc[0]!r}; keep "
                            "one row an image")
    return frame


def in_several_splits(frame: pd.DataFrame) -> pd.Index:
    """Patients with images in more than one split."""
    splits = frame.groupby("patient")["split"].nunique()
    return splits.index[splits > 1]


def check_patients(frame: pd.DataFrame, tables: Mapping[str, Path]) -> None:
    """Raise AttrinetError if a patient is in more than one label table."""
    shared = in_several_splits(frame)
    if len(shared):
        where = " and ".join(str(tables[split]) for split in frame["split"][frame["patient"] == shared[0]].unique())
        raise AttrinetError(f"{where} share {len(shared)} patients, {shared[0]!r} among them; the official splits "
                            "share none: is one file a copy of the other?")


def renamed(source: Source, names: Mapping[str, str]) -> Source:
    """The source with findings under other names (old → new), as a model of other data calls them.

    Raises AttrinetError for a finding there is none of, and where two would be called the same.
    """
    names = {composed(old): new for old, new in names.items()}
    known("--rename", names, source.findings)
    findings = tuple(names.get(name, name) for name in source.findings)
    twice = {name for name in findings if findings.count(name) > 1}
    taken = sorted(twice | set(findings) & set(MANIFEST_COLUMNS))
    if MEAN in findings:
        raise AttrinetError(f"--rename: {MEAN!r} is what evaluations call the mean over findings; choose another name")
    if taken:
        raise AttrinetError(f"--rename: {taken[0]!r} is the name of another finding or column; leave that out with "
                            "--findings, or choose another name")
    annotations = source.annotations.assign(finding=source.annotations["finding"].replace(dict(names)))
    return replace(source, findings=findings, manifest=source.manifest.rename(columns=dict(names)),
                   annotations=annotations, options={**source.options, "renamed": dict(names)})


def check(source: Source) -> None:
    """Raise AttrinetError for anything that would make a store misleading; see Source for what is expected."""
    check_rows(source)
    if MEAN in source.findings:
        raise AttrinetError(f"{source.name}: a finding called {MEAN!r} would be given the numbers of the mean over "
                            f"findings in evaluations; call it otherwise: prepare --rename {MEAN}=NAME")


def check_rows(source: Source) -> None:
    """check, but for a name that `renamed` can still change."""
    frame, name = source.manifest, source.name
    need_columns(frame, (*MANIFEST_COLUMNS, *source.findings), name)
    need_columns(source.annotations, ANNOTATION_COLUMNS, f"{name} annotations")
    if not source.findings or len(set(source.findings)) != len(source.findings):
        raise AttrinetError(f"{name}: findings {source.findings} must be one or more different names")
    clash = set(source.findings) & set(MANIFEST_COLUMNS)
    if clash:
        raise AttrinetError(f"{name}: a finding must not be called {sorted(clash)[0]!r}")
    if len(frame) == 0:
        raise AttrinetError(f"{name}: no image is left; {counted(source.excluded)}")
    twice = frame["id"][frame["id"].duplicated()]
    if len(twice):
        raise AttrinetError(f"{name}: image id {twice.iloc[0]!r} comes more than once")
    for column in ("id", "source", "patient", "split"):
        if frame[column].isna().any():
            raise AttrinetError(f"{name}: row {frame.index[frame[column].isna()][0]} has no {column}")
    for column in ("id", "source", "patient"):
        for value in (v for v in frame[column] if not encodable(v)):
            raise AttrinetError(f"{name}: {column} {ascii(value)} is not UTF-8; rename the file or folder, as "
                                "convmv does")
    wrong = sorted(set(frame["split"]) - set(SPLITS))
    if wrong:
        raise AttrinetError(f"{name}: unknown split {wrong[0]!r}; splits are {', '.join(SPLITS)}")
    shared = in_several_splits(frame)
    if len(shared):
        raise AttrinetError(f"{name}: patient {shared[0]!r} is in more than one split")
    for finding in source.findings:
        values = frame[finding].dropna()
        if not values.isin([0, 1]).all():
            raise AttrinetError(f"{name}: column {finding!r} holds {values[~values.isin([0, 1])].iloc[0]}; "
                                "labels are 0, 1 or missing")
    for column, allowed in (("id", set(frame["id"])), ("finding", set(source.findings))):
        stray = set(source.annotations[column]) - allowed
        if stray:
            raise AttrinetError(f"{name}: an annotation has the unknown {column} {sorted(stray)[0]!r}")
