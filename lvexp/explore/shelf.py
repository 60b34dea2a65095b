"""The finished runs below a folder, and their files; nothing outside the folder is read. Free of torch."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lvexp.errors import LvexpError, RunError
from lvexp.report import columns, compare, history
from lvexp.report.columns import Column
from lvexp.report.compare import Result
from lvexp.report.names import names
from lvexp.report.result import RESULT
from lvexp.report.sheet import Sheet, cell

#: points of a curve that are shown
POINTS = 400


class Shelf:
    """The runs of a folder by their path in it. Runs, and files of runs, that lie elsewhere are not there: symbolic
    links that lead out of the folder, and paths with ``..``.

    Args:
        root: the folder; a run itself, or with runs at any depth.

    Raises:
        RunError: there is no such folder.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root).resolve()
        if not self.root.is_dir():
            raise RunError(f"{root}: there is no such folder\ntry  the folder of a sweep, outputs/<name>")
        self.known: dict[str, tuple[int, Result]] = {}

    def runs(self) -> list[str]:
        """The paths of the finished runs, in order. Their own folders are not searched."""
        found = []
        for place, folders, files in os.walk(self.root):
            if RESULT in files and self._inside(Path(place) / RESULT):
                found.append(Path(place).relative_to(self.root).as_posix())
                folders.clear()
            folders[:] = sorted(name for name in folders if not name.startswith("."))
        return found

    def file(self, run: str, name: str) -> Path:
        """A file of a run.

        Raises:
            RunError: there is no such run, or no such file within the folder.
        """
        folder = self.root / run
        if "\0" in run + name or not self._inside(folder / RESULT):
            raise RunError(f"{run}: there is no such run in {self.root.name}")
        if name != RESULT and not self._inside(folder / name):
            raise RunError(f"{run}: there is no {name}")
        return folder / name

    def folder(self, run: str) -> Path:
        return self.file(run, RESULT).parent

    def _inside(self, path: Path) -> bool:
        real = path.resolve()
        return real.is_relative_to(self.root) and real.is_file()

    def result(self, run: str) -> Result:
        """The result of a run, read again if it has changed."""
        file = self.file(run, RESULT)
        changed = file.stat().st_mtime_ns
        if run not in self.known or self.known[run][0] != changed:
            self.known[run] = changed, compare.read(file.parent)
        return self.known[run][1]

    def results(self, runs: Iterable[str]) -> tuple[dict[str, Result], list[str]]:
        """Path → result of runs, and a note on each that is left out."""
        found, notes = {}, []
        for run in runs:
            try:
                result = self.result(run)
            except LvexpError as error:
                notes.append(str(error).partition("\n")[0])
                continue
            if result.get("status") == "failed":
                notes.append(f"{run}: {result.get('verdict') or 'failed'}")
            else:
                found[run] = result
        return found, notes

    def tables(self, under: str = "") -> dict[str, Any]:
        """A table for each corpus, a row for each group of runs that differ in their seed alone."""
        there = self.runs()
        found, notes = self.results(run for run in there if not under or f"{run}/".startswith(f"{under}/"))
        paths = {result["run_id"]: run for run, result in found.items()}
        made = []
        for table in compare.tables([*{result["run_id"]: result for result in found.values()}.values()]):
            sheet = Sheet(table, columns.usual(group.runs for group in table.groups))
            rows = []
            for group, cells in sheet.rows():
                runs = sorted(group.runs, key=lambda run: run.get("seed") or 0)
                rows.append({
                    "name": group.name, "runs": [{"id": paths[run["run_id"]], "seed": run.get("seed")} for run in runs],
                    "verdict": runs[0].get("verdict") or "", "values": [spread and spread[0] for spread in cells],
                    "cells": [cell(spread, column) for spread, column in zip(cells, sheet.columns, strict=True)],
                })  # fmt: skip
            heads = [_head(column) for column in sheet.columns]
            made.append({"corpus": table.corpus, "columns": heads, "rows": rows})
        sweeps = sorted({run.rpartition("/")[0] for run in there})
        return {"folder": self.root.name, "tables": made, "sweeps": sweeps, "notes": notes}

    def page(self, run: str) -> dict[str, Any]:
        """The report of a run: its verdict, table, pictures and texts."""
        result = self.result(run)
        return {
            "id": run, "name": result["run_id"], "verdict": result.get("verdict") or "",
            "overrides": result["overrides"], "groups": result.get("groups") or [], "pictures": self.pictures(run),
            "commit": result.get("commit"), "samples": self.text(run, "samples.txt"),
        }  # fmt: skip

    def pictures(self, run: str) -> list[str]:
        """Names of the PNG files of a report."""
        folder = self.folder(run) / "figures"
        return sorted(path.stem for path in folder.glob("*.png") if self._inside(path))

    def text(self, run: str, name: str) -> str:
        """A text file of a run; empty if there is none."""
        try:
            return self.file(run, name).read_text(encoding="utf-8")
        except (LvexpError, OSError, UnicodeDecodeError):
            return ""

    def labels(self, runs: Sequence[str]) -> dict[str, str]:
        """Path → a short name that sets a run apart from the others."""
        found = {run: self.result(run) for run in runs}
        named = names({result["group_id"]: result for result in found.values()})
        seeds = len({result["group_id"] for result in found.values()}) < len({r["run_id"] for r in found.values()})
        return {
            run: named[result["group_id"]] + (f", seed {result.get('seed')}" if seeds else "")
            for run, result in found.items()
        }

    def curves(self, runs: Sequence[str]) -> dict[str, Any]:
        """What was logged in training: name of the figure → the curve of each run, at most :data:`POINTS` points."""
        named, found = self.labels(runs), dict[str, list[dict[str, Any]]]()
        for run in runs:
            try:
                rows = history.read_metrics(self.file(run, history.METRICS))
            except LvexpError:
                continue
            for key in dict.fromkeys(key for row in rows for key in row if key not in ("step", "epoch")):
                points = [(row["step"], row[key]) for row in rows if key in row and math.isfinite(row[key])]
                kept = points[:: -(-len(points) // POINTS)] if points else []
                curve = {"name": named[run], "x": [x for x, _ in kept], "y": [y for _, y in kept]}
                found.setdefault(key, []).append(curve)
        return dict(sorted(found.items(), key=lambda pair: (not pair[0].startswith("val/"), pair[0])))


def _head(column: Column) -> Mapping[str, Any]:
    return {"key": column.key, "label": column.label, "higher": column.higher}
