"""``metrics.csv``: the curves of a run, one row for each logged step."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger

from lvexp.durable import replace_durably
from lvexp.report.history import METRICS as METRICS
from lvexp.report.history import Row as Row
from lvexp.report.history import read_metrics as read_metrics


class CsvLogger(Logger):
    """Writes ``metrics.csv`` directly into the run folder, one row per logged step.

    Values logged at the same step share a row. Steps in the file always increase: logging an earlier step, as a resumed
    run does, removes the rows after it, so no step occurs twice. The file is appended to if possible and otherwise
    replaced atomically, so a killed job leaves a readable file. Lightning's own CSV logger deletes existing files in
    its folder and needs a subfolder per version.

    Args:
        run_dir: the run folder.
        flush_every: largest number of rows that are buffered; a validation is always written at once.
    """

    def __init__(self, run_dir: str | Path, flush_every: int = 20):
        super().__init__()
        self.path, self.flush_every = Path(run_dir) / METRICS, flush_every
        self.rows: list[Row] = read_metrics(self.path) if self.path.exists() else []
        self.columns = _columns(self.rows)
        self.written = len(self.rows)  # number of rows that are the same on disk and in memory
        self.stale = self.path.exists()  # the file may differ from memory, for instance by a row cut off by a crash
        self.urgent = False

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self.path.parent)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Does nothing: the configuration has its own file."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float | int], step: int | None = None) -> None:
        step = step if step is not None else int(self.rows[-1]["step"]) if self.rows else 0
        while self.rows and self.rows[-1]["step"] > step:
            self.rows.pop()
        if not self.rows or self.rows[-1]["step"] != step:
            self.rows.append({"step": step})
        self.rows[-1].update({name: float(value) for name, value in metrics.items() if name != "step"})
        if len(self.rows) <= self.written:  # rows were removed, or a row on disk got more values
            self.written, self.stale = len(self.rows) - 1, True
        self.urgent = self.urgent or any(name.startswith("val/") for name in metrics)

    def save(self) -> None:
        """Called by Lightning after each logging; writes after a validation or when enough rows are buffered."""
        if self.urgent or len(self.rows) - self.written >= self.flush_every:
            self.flush()

    @rank_zero_only
    def flush(self) -> None:
        """Writes all rows now."""
        columns = _columns(self.rows)
        if self.stale or columns != self.columns or not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            text = io.StringIO(newline="")
            writer = csv.DictWriter(text, columns)
            writer.writeheader()
            writer.writerows(_cells(row) for row in self.rows)
            replace_durably(self.path, text.getvalue().encode())
        else:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, columns).writerows(_cells(row) for row in self.rows[self.written :])
                file.flush()
                os.fsync(file.fileno())  # a checkpoint that is written next relies on these rows
        self.columns, self.written, self.stale, self.urgent = columns, len(self.rows), False, False

    def finalize(self, status: str) -> None:
        if self.stale or self.written < len(self.rows):
            self.flush()


def _columns(rows: Iterable[Row]) -> list[str]:
    found = {name for row in rows for name in row} | {"step"}
    first = [name for name in ("step", "epoch") if name in found]
    return first + sorted(found - {*first})


def _cells(row: Row) -> dict[str, str]:
    return {name: f"{value:.9g}" if isinstance(value, float) else str(value) for name, value in row.items()}
