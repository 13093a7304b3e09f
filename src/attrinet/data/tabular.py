"""Tables as people save them, CSV of Excel and R with reports in their cells, and Parquet; and their rows' lines."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from attrinet.data.walk import composed
from attrinet.errors import AttrinetError

BREAK = r"\r\n?|\n"
HEADER_LINES = 50  # to look for the end of a header whose names hold line breaks
OPEN: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


def read_table(path: str | Path, **csv: Any) -> pd.DataFrame:
    """CSV (also .gz; `csv`: for pandas.read_csv) or Parquet (a named index is a column too) → DataFrame, its index the
    number of the row, also where the rows have a name without a column (R writes such), or, where a CSV has blank lines
    or line breaks in its cells (reports), what first_line makes the line of. Raises AttrinetError naming the file."""
    path = Path(path)
    try:
        if path.suffix == ".parquet":
            frame = pd.read_parquet(path)
            index = [name for name in frame.index.names if name is not None and name not in frame.columns]
            frame = frame.reset_index(level=index) if index else frame
            for column in frame.columns:  # Arrow reads text that is no text, and complains later
                held = frame[column].to_numpy(object)
                if any(isinstance(value, (list, dict, np.ndarray)) for value in held):
                    frame[column] = [str(value) for value in held]  # a word in messages, as a CSV would have it
            names = [composed(str(name).strip()) for name in frame.columns]
            if len(set(names)) < len(names):
                raise ValueError(f"columns {', '.join(names)} are not all different")
            return frame.set_axis(pd.Index(names), axis=1).reset_index(drop=True)
        return read_csv(path, **csv)
    except FileNotFoundError as error:
        raise AttrinetError(f"{path}: not found") from error
    except Exception as error:  # readers raise whatever they like on damaged bytes
        if isinstance(error, UnicodeDecodeError) and path.suffix != ".parquet":
            raise AttrinetError(f"{path}: not a readable table, as its text is not UTF-8; save it as UTF-8 (Excel: "
                                "\"CSV UTF-8\")") from error
        raise AttrinetError(f"{path}: not a readable table ({' '.join(str(error).split())[:150]})") from error


def read_csv(path: Path, **csv: Any) -> pd.DataFrame:
    """Separated by commas, semicolons or tabs, whichever the header has most of, or as Excel's first line (sep=;) says;
    with a semicolon 1,5 is 1.5. Spaces around the names of columns do not count."""
    lines, sign, skip, breaks = text_lines(path), ",", 0, 0
    if "names" not in csv:
        said = re.fullmatch(r"sep=([,;\t]) *", lines[0], re.IGNORECASE)
        skip = 1 if said else 0
        sign = said[1] if said else separator(lines)
        layout: dict[str, Any] = {"sep": sign, "skiprows": skip}
        header = pd.read_csv(path, nrows=0, **layout).columns
        own = pd.read_csv(path, nrows=1, header=None, dtype=str, index_col=False, **layout).iloc[0].dropna()
        breaks, own = int(own.str.count(BREAK).sum()), own.str.strip().str.normalize("NFC")
        if own.duplicated().any():
            raise ValueError(f"two columns are called {own[own.duplicated()].iloc[0]!r}")
        csv |= layout | {"decimal": "," if sign == ";" else ".", "header": 0,
                         "names": header.str.strip().str.normalize("NFC")}
    frame = pd.read_csv(path, dtype_backend="numpy_nullable", **csv).reset_index(drop=True)
    if csv.get("header", 0) is None:
        return frame
    blank = [not line.strip(" \t".replace(sign, "")) for line in lines]
    return at_lines(frame, blank, next_line(blank, skip) + 1 + breaks)


def text_lines(path: Path) -> list[str]:
    """The lines of a text; a single blank one where only pandas can unpack it."""
    if path.suffix.lower() in (".zip", ".zst", ".tar"):
        return [""]
    with OPEN.get(path.suffix.lower(), open)(path, "rt", encoding="utf-8-sig", errors="replace") as file:
        return file.read().split("\n")


def separator(lines: Sequence[str]) -> str:
    """What stands most often between the names of the first line that is not blank, outside of quotes; else a comma."""
    top = next_line([not line.strip() for line in lines], 0)
    header = re.sub(r'(?<![^,;\t])"(?:[^"]|"")*"', "", "\n".join(lines[top : top + HEADER_LINES])).split("\n")[0]
    return max(",;\t", key=header.count)


def next_line(blank: Sequence[bool], line: int) -> int:
    """The first at or after `line` that is not blank."""
    while line < len(blank) and blank[line]:
        line += 1
    return line


def at_lines(frame: pd.DataFrame, blank: Sequence[bool], line: int) -> pd.DataFrame:
    """The rows of a CSV, numbered as read_table says. blank: of every line; line: the first below the header."""
    text = [c for c in frame.columns if pd.api.types.is_string_dtype(frame[c])]
    heights = 1 + sum((frame[c].str.count(BREAK).fillna(0).to_numpy(int) for c in text), np.zeros(len(frame), int))
    numbers = []
    for height in heights.tolist():
        line = next_line(blank, line)
        numbers.append(line - 1)
        line += height
    return frame if numbers == list(range(len(frame))) else frame.set_axis(numbers)


def stripped(column: pd.Series) -> pd.Series:
    """Text without the spaces around it, and composed, or one patient would be two; missing where nothing is left."""
    text = column.astype("string").str.strip()  # astype(str) spells out what is missing before pandas 3
    return text.str.normalize("NFC").mask(text == "")


def slashed(paths: pd.Series) -> pd.Series:
    """Paths as Windows writes them with / between folders."""
    return paths.str.replace("\\", "/", regex=False)
