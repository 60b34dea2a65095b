"""``metrics.csv`` as it is read again: rows of a training's course. Free of torch."""

from __future__ import annotations

import contextlib
import csv
from pathlib import Path

from lvexp.errors import RunError

Row = dict[str, float | int]

METRICS = "metrics.csv"


def read_metrics(path: str | Path) -> list[Row]:
    """The rows of a ``metrics.csv``, without empty cells. A row that was cut off by a crash is omitted.

    Raises:
        RunError: the file is damaged.
    """
    rows: list[Row] = []
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(line for line in file if line.endswith("\n"))
            if table.fieldnames and table.fieldnames[0] != "step":
                raise ValueError("its first column is not the step")
            for cells in table:
                with contextlib.suppress(ValueError, TypeError):
                    row: Row = {name: float(cell) for name, cell in cells.items() if cell != ""}
                    row["step"] = int(row["step"])
                    if "epoch" in row:
                        row["epoch"] = int(row["epoch"])
                    rows.append(row)
    except (ValueError, KeyError, csv.Error) as error:
        raise RunError(
            f"{path}: this file is damaged\ntry  rm {path}; the curves then begin where the run continues | "
            "force=true, which trains anew"
        ) from error
    return rows
