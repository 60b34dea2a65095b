"""The classes in the columns of labels and further attributes, collected in the first pass over a corpus."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lvexp.data.rows import Row
from lvexp.data.settings import Columns
from lvexp.errors import DataError

MOST_LABELS = 10_000


class Classes:
    """The values that occur in these columns.

    Attributes:
        labels: those of ``columns.label``.
        attributes: those of each further column, by its name or number.
        tags: those of each key of the tags.
    """

    def __init__(self, columns: Columns) -> None:
        self._label, self._tags = columns.label, columns.tags
        self.tags: dict[str, set[str]] = {}
        self.labels: set[str] = set()
        self.attributes: dict[str, set[str]] = {str(column): set() for column in columns.attributes or ()}

    def add(self, row: Row, path: Path) -> None:
        """Adds the values of a row of ``path``. Raises DataError if there are too many for classes."""
        if row.label is not None:
            self._add(self.labels, row.label, f"data.columns.label={self._label}", path)
        for (column, known), value in zip(self.attributes.items(), row.attributes, strict=True):
            if value is not None:
                self._add(known, value, f"data.columns.attributes=[{column}]", path)
        for key, value in (row.tags or {}).items():
            self._add(self.tags.setdefault(key, set()), value, f"data.columns.tags={self._tags} {key}", path)

    def check(self) -> None:
        """Raises DataError if a column that was named has no value in any row."""
        for typed, known in self._columns():
            if not known:
                raise DataError(
                    f"{typed}: no line of any file has a label there\n"
                    f"try  the column's name or number, or {typed.partition('=')[0]}=null"
                )

    def check_judge(self, judged: Classes, path: Path) -> None:
        """Raises DataError if the file of judge, whose classes are ``judged``, has no labels in a column, one that no
        other file has, or a single one of several."""
        for (typed, known), (_, found) in zip(self._columns(), judged._columns(), strict=True):
            if not found:
                raise DataError(
                    f"data.files.judge={path} {typed}: no line of it has a label there, and a classifier learns from "
                    "these\ntry  data.files.judge=FILE with labels | data.files.judge=null"
                )
            if new := sorted(found - known):
                raise DataError(
                    f"data.files.judge={path} {typed}: {new[0]!r} is the label of no text of train, valid or test\n"
                    f"try  data.files.judge=FILE with labels among {', '.join(sorted(known)[:9])}"
                )
            if len(found) == 1 < len(known):
                raise DataError(
                    f"data.files.judge={path} {typed}: every text of it has the label {min(found)!r}, and a classifier "
                    "learns to tell labels apart\ntry  data.files.judge=FILE with several | data.files.judge=null"
                )

    def _columns(self) -> Iterator[tuple[str, set[str]]]:
        if self._label is not None:
            yield f"data.columns.label={self._label}", self.labels
        yield from ((f"data.columns.attributes=[{column}]", known) for column, known in self.attributes.items())

    @staticmethod
    def _add(known: set[str], value: str, typed: str, path: Path) -> None:
        known.add(value)
        if len(known) > MOST_LABELS:
            raise DataError(
                f"{typed}: {path} has over {MOST_LABELS:,} different values there, too many for classes\n"
                "try  the column that holds the class"
            )
