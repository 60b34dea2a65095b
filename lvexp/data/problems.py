"""What of a file was skipped or changed."""

from __future__ import annotations

from pathlib import Path

#: kind of line that is in another encoding
INVALID = "lines of invalid UTF-8"
SHOWN = 3  # line numbers listed per kind of problem


class Problems:
    """Lines of one file that were skipped or changed, by kind."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.counts: dict[str, int] = {}
        self.first: dict[str, list[int]] = {}

    def add(self, kind: str, line: int) -> None:
        """Counts one ``line`` (numbered from 1) under ``kind``."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        shown = self.first.setdefault(kind, [])
        if len(shown) < SHOWN:
            shown.append(line)

    def notes(self) -> list[str]:
        """One sentence per kind: ``train.txt: 12 blank lines skipped (first at lines 3, 77, 90)``."""
        return [self._note(kind, count) for kind, count in sorted(self.counts.items())]

    def _note(self, kind: str, count: int) -> str:
        what, _, done = kind.partition(": ")
        lines = ", ".join(map(str, self.first[kind]))
        where = f"at line {lines}" if count == 1 else f"first at lines {lines}"
        return f"{self.path.name}: {count:,} {what} {done or 'skipped'} ({where})"


def advised(note: str) -> str:
    """A note as it is printed: with the setting that may mend what it tells of."""
    return f"{note}; data.encoding=latin-1, cp1252, … reads other encodings" if INVALID in note else note
