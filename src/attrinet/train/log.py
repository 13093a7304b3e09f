"""metrics.jsonl and tensorboard/: what a run says while it trains."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from attrinet.errors import AttrinetError
from attrinet.files import write_atomically
from attrinet.train.checkpoint import RESUME


class MetricsLog:
    """One JSON object a line, its scalars for TensorBoard too; of the process that writes.

    Reopened at `step`, it forgets what came after: the resumed run will say it again. Nothing in metrics.jsonl depends
    on time or machine, so that a resumed run's log equals an undisturbed one's.
    """

    def __init__(self, out: Path, step: int):
        path = out / "metrics.jsonl"
        kept = [r for r in read_log(path) if r["step"] <= step] if step else []
        write_atomically(path, lambda p: p.write_text("".join(json.dumps(r) + "\n" for r in kept)), RESUME)
        self._file = open(path, "a")
        self._board = SummaryWriter(str(out / "tensorboard"), purge_step=step + 1)

    def write(self, record: dict, scalars: dict[str, float]) -> None:
        """Append a record, and its scalars for TensorBoard; a number that is undefined (an AUC without positives)
        becomes null."""
        self._file.write(json.dumps(_nulls(record), allow_nan=False) + "\n")
        self._file.flush()
        for name, value in scalars.items():
            self._board.add_scalar(name, value, record["step"])

    def close(self) -> None:
        self._file.close()
        self._board.close()

    def sync(self) -> None:
        """Make what was written survive a power cut."""
        os.fsync(self._file.fileno())
        self._board.flush()


def _nulls(value):
    if isinstance(value, dict):
        return {key: _nulls(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_log(path: Path) -> list[dict]:
    """The records of a metrics.jsonl; a last line cut short by a kill is left out. [] where there is no file.

    Raises AttrinetError for any other line that is no record.
    """
    records = []
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            records.append(json.loads(line))
        except ValueError as error:
            if number < len(lines):
                raise AttrinetError(f"{path}: line {number} is damaged; mend it, or move the file away to go on "
                                    "without the log so far") from error
    return records
