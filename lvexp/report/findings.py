"""What an instrument gives to the report. Free of torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Score = float | int | bool | str | None
#: name, value as it is printed, unit, how it was measured
Row = tuple[str, str, str, str]
#: title of a part of the table, and its rows
Group = tuple[str, Sequence[Row]]

#: what selects the best validation of a model with a bound: the figure, the lower the better, and its name in print
BOUND = ("nelbo", "−ELBO")
#: parts of the usual report: D, R and the bound; the importance-weighted likelihood; mutual information and active
#: units; texts written by the model, and the figures made from them
PARTS = ("bound", "likelihood", "use", "text")
#: files that an instrument may add to the run folder
FILES = ("scores.jsonl", "written.jsonl")
#: what stands in the table for a figure that does not exist
NONE = "–"


@dataclasses.dataclass(frozen=True)
class Section:
    """Texts for a reader: a part of ``samples.txt``, a table in W&B, and a few lines on the terminal.

    Attributes:
        title: of the part. explanation: a sentence below it.
        lines: what stands before each text, and the text; an empty pair makes a gap.
        columns, rows: the same as a table; without them it is the lines.
        brief: the first of them as the terminal shows them; without, the lines.
        place: sections come in this order.
    """

    title: str
    lines: Sequence[tuple[str, str]]
    explanation: str = ""
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()
    brief: Sequence[str] | None = None
    place: int = 0

    @property
    def name(self) -> str:
        """The title on the terminal and in W&B: parts of the usual report are in lower case there."""
        return self.title.lower() if self.place else self.title


@dataclasses.dataclass(frozen=True)
class Findings:
    """What an instrument gives to the report beside its figures.

    Attributes:
        scores: further figures, known only now; None where one could not be measured.
        groups: rows of the table under the title of their part; instruments may add to the same part.
        verdict: one line that replaces the usual verdict; None leaves that one.
        sections: texts to read.
        pictures: stem of a file → what draws the picture, given the path of the PNG.
        files: name of a file in the run folder, one of :data:`FILES` → its text.
    """

    scores: Mapping[str, Score] = dataclasses.field(default_factory=dict)
    groups: Sequence[Group] = ()
    verdict: str | None = None
    sections: Sequence[Section] = ()
    pictures: Mapping[str, Callable[[Path], None]] = dataclasses.field(default_factory=dict)
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)


def number(value: Any, form: str = ".2f") -> str:
    """A figure as it is printed; with z, what rounds to zero has no minus."""
    return NONE if value is None else f"{value:{'z' if isinstance(value, float) else ''}{form}}"


def row(name: str, value: str, unit: str = "", how: str = "", lacks: str = "") -> Row:
    """A row of the table; of a figure that does not exist, with the reason."""
    return (name, value, unit, how) if value != NONE else (name, NONE, "", lacks)


def per(scores: Mapping[str, Score]) -> str:
    """The unit of nats."""
    return f"nats/{scores.get('unit') or 'text'}"


def worded(scores: Mapping[str, Score], row: Row) -> list[Row]:
    """A row about tokens, if there are any."""
    return [] if scores.get("tokens") == 0 else [row]


def error(value: float | None, digits: int = 2) -> str:
    """A standard error, to be put behind its figure."""
    return f" ±{value:.{digits}g}" if value else ""
