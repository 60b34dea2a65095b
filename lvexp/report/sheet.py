"""Groups of runs as the rows of a table, and the table as Markdown, CSV, LaTeX or JSON."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lvexp.report.columns import Column, Spread, spread
from lvexp.report.compare import Group, Table
from lvexp.report.paired import Difference, Paired


@dataclass(frozen=True)
class Sheet:
    """A table in order of its first column, best first; groups without that figure come last.

    Nothing is marked as best: most differences between good models are smaller than those between seeds.
    """

    table: Table
    columns: Sequence[Column]
    paired: Paired | None = None

    def rows(self) -> list[tuple[Group, list[Spread]]]:
        found = [(group, [spread(group.runs, column.key) for column in self.columns]) for group in self.table.groups]

        def rank(row: tuple[Group, list[Spread]]) -> float:
            value = row[1][0] if row[1] else None
            return math.inf if value is None else -value[0] if self.columns[0].higher else value[0]

        return sorted(found, key=rank)

    def difference(self, group: Group) -> Difference | None:
        return None if self.paired is None else self.paired.by_group.get(group.id)


def markdown(sheets: Sequence[Sheet]) -> str:
    """A table for each corpus, under its name if there are several, with a dash for figures that do not exist."""
    parts = []
    for sheet in sheets:
        titles = ["run", "seeds", *(column.label for column in sheet.columns), *_title(sheet)]
        lines = [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]
        for group, cells in sheet.rows():
            shown = [cell(value, column) for value, column in zip(cells, sheet.columns, strict=True)]
            name = group.name.replace("|", "\\|")
            lines.append(f"| {' | '.join([name, str(len(group.runs)), *shown, *_interval(sheet, group)])} |")
        if sheet.paired is not None:
            lines += ["", _caption(sheet.paired, sheet.table.unit)]
        parts.append("\n".join([*([f"**{sheet.table.corpus}**", ""] if len(sheets) > 1 else []), *lines]) + "\n")
    return "\n".join(parts)


def cell(value: Spread, column: Column, between: str = " ± ") -> str:
    """A figure as it is printed, mean ± standard deviation."""
    if value is None:
        return "–"
    mean, deviation = value
    if column.key == "seconds":  # of machines, rather than of models
        return f"{mean:,.0f}"
    return f"{mean:z,.{column.digits}f}" + (f"{between}{deviation:,.{column.digits}f}" if deviation is not None else "")


def _title(sheet: Sheet) -> list[str]:
    return [] if sheet.paired is None else [f"{sheet.paired.figure}, difference"]


def _interval(sheet: Sheet, group: Group) -> list[str]:
    if sheet.paired is None:
        return []
    if (found := sheet.difference(group)) is None:
        return ["–"]
    if group.name == sheet.paired.against:
        return ["reference"]
    digits = max(2, min(4, 1 - math.floor(math.log10(max(found.high - found.low, 1e-9)))))
    return [f"{found.mean:+z.{digits}f} [{found.low:+z.{digits}f}, {found.high:+z.{digits}f}]"]


def _caption(paired: Paired, unit: str) -> str:
    return (
        f"Difference of {paired.figure} per {unit} from {paired.against}, with a 95 % interval: paired bootstrap over "
        f"{paired.texts:,} {unit}s, seeds averaged first. It covers the choice of {unit}s, not that of seeds."
    )


def latex(sheets: Sequence[Sheet]) -> str:
    """A ``tabular`` for each corpus, with the rules of the package booktabs."""
    parts = []
    for sheet in sheets:
        titles = ["run", "seeds", *(column.label for column in sheet.columns), *_title(sheet)]
        lines = [f"% {sheet.table.corpus}", r"\begin{tabular}{l" + "r" * (len(titles) - 1) + "}", r"\toprule"]
        lines += [" & ".join(_escaped(title) for title in titles) + r" \\", r"\midrule"]
        for group, cells in sheet.rows():
            shown = [cell(value, column, r" \pm ") for value, column in zip(cells, sheet.columns, strict=True)]
            math_cells = [_math(cell) for cell in (*shown, *_interval(sheet, group))]
            lines.append(" & ".join([_escaped(group.name), str(len(group.runs)), *math_cells]) + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}"]
        lines += [f"% {_caption(sheet.paired, sheet.table.unit)}"] if sheet.paired is not None else []
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _math(cell: str) -> str:
    """Numbers in math mode, where a comma within a number is no punctuation."""
    if not any(letter.isdigit() for letter in cell):
        return "--" if cell == "–" else cell
    return "$" + re.sub(r"(?<=\d),(?=\d)", "{,}", cell) + "$"


def _escaped(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(letter, f"\\{letter}" if letter in "&%$#_{}" else letter) for letter in text)


def records(sheets: Sequence[Sheet]) -> list[dict[str, Any]]:
    """Each group as a flat record: ``corpus``, ``run``, ``group_id``, ``seeds``, then each figure and its ``_sd``; with
    paired differences ``NAME_difference``, ``NAME_low``, ``NAME_high`` and the reference, ``against``. None where a
    figure does not exist."""
    found = []
    for sheet in sheets:
        for group, cells in sheet.rows():
            record: dict[str, Any] = {
                "corpus": sheet.table.corpus, "run": group.name, "group_id": group.id, "seeds": len(group.runs),
            }  # fmt: skip
            for column, cell in zip(sheet.columns, cells, strict=True):
                record |= {column.key: cell and cell[0], f"{column.key}_sd": cell and cell[1]}
            if sheet.paired is not None:
                known, name = sheet.difference(group), sheet.paired.figure
                record |= {f"{name}_difference": known and known.mean}
                record |= {f"{name}_low": known and known.low, f"{name}_high": known and known.high}
                record["against"] = sheet.paired.against
            found.append(record)
    return found


def comma_separated(sheets: Sequence[Sheet]) -> str:
    """:func:`records` as CSV, with all digits; empty where a figure does not exist."""
    rows = records(sheets)
    text = io.StringIO()
    fields = dict.fromkeys(key for row in rows for key in row)
    writer = csv.DictWriter(text, list(fields), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_json(sheets: Sequence[Sheet]) -> str:
    """:func:`records` as a JSON list."""
    return json.dumps(records(sheets), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


#: format → what writes it, and the suffix of its files
FORMATS = {
    "markdown": (markdown, ".md"),
    "csv": (comma_separated, ".csv"),
    "latex": (latex, ".tex"),
    "json": (as_json, ".json"),
}
