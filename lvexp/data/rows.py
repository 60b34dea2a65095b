"""Reads the rows of one text file in any supported layout, and counts what cannot be used.

No line is dropped silently: each unusable line is counted by kind (:class:`lvexp.data.problems.Problems`), with the
first line numbers. Files are read as a stream, one line at a time.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import json
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from io import BufferedIOBase
from pathlib import Path
from typing import NamedTuple

from lvexp.data import tags
from lvexp.data.layout import Layout
from lvexp.data.problems import INVALID, Problems
from lvexp.data.settings import UTF8
from lvexp.errors import DataError

LONGEST_LINE = 1 << 20  # bytes; a file with a longer line is not text, and might not fit in memory
_PAIRS = re.compile(r"(?:[0-9]{1,9}+:[0-9]{1,9}+(?: ++|$))*+")  # larger counts are not exact in 32 bits
_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # the first is also the start of the UTF-32 mark


class Row(NamedTuple):
    """One usable row: its line number (from 1), its text with single blanks, its label or None and, if the layout has
    these columns, its split, the text that it answers (``source``), the name of its group of rows, its further
    attributes, None where one is not known, and its tags (:mod:`lvexp.data.tags`), None if they are not known.

    In the format ``feat`` the text consists of ``id:count`` pairs.
    """

    line: int
    text: str
    label: str | None
    split: str | None = None
    source: str | None = None
    group: str | None = None
    attributes: tuple[str | None, ...] = ()
    tags: Mapping[str, str] | None = None


def rows(path: Path, layout: Layout, problems: Problems, sources: Path | None = None) -> Iterator[Row]:
    """The usable rows of ``path``; each line of ``sources``, if given, is the source of the same line of ``path``. The
    sources in a ``.npy`` file are its rows: that of a text is found by ``line``.

    Raises:
        DataError: the file cannot be read to its end, is in UTF-16, lacks the column with the text, or has another
            number of lines than ``sources``.
    """
    if not os.path.isfile(path):  # reading would wait for a pipe, and never end for a device
        raise DataError(f"{path}: is not a regular file, which can be read more than once\ntry  a copy of it in a file")
    try:
        with _opened(path) as file:
            numbered = _lines(file, problems, layout.encoding)
            if sources is not None:
                yield from _clean(_paired(numbered, path, sources, layout, problems), problems)
            elif layout.format == "txt":
                yield from _clean((Row(number, line, None) for number, line in numbered), problems)
            elif layout.format == "feat":
                yield from _clean(_counted(numbered, layout, problems), problems)
            elif layout.format == "jsonl":
                yield from _clean(_objects(numbered, path, layout, problems), problems)
            else:
                yield from _clean(_table(numbered, path, layout, problems), problems)
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise DataError(f"{path}: cannot be read: {reason}\ntry  another copy of the file") from error


def _opened(path: Path) -> BufferedIOBase:
    return gzip.GzipFile(path, "rb") if path.suffix == ".gz" else open(path, "rb")


def _lines(file: BufferedIOBase, problems: Problems, encoding: str = UTF8) -> Iterator[tuple[int, str]]:
    number = 0
    while raw := file.readline(LONGEST_LINE):
        number += 1
        if len(raw) == LONGEST_LINE and not raw.endswith(b"\n"):
            while (rest := file.readline(LONGEST_LINE)) and not rest.endswith(b"\n"):
                pass
            problems.add("over-long lines (1 MiB or more)", number)
            continue
        if number == 1:
            if raw.startswith(_BOMS):
                raise DataError(
                    f"{problems.path}: is in UTF-16, not in UTF-8\ntry  iconv -f UTF-16 -t UTF-8, or save it so"
                )
            raw = raw.removeprefix(codecs.BOM_UTF8)
        if b"\0" in raw:  # as in UTF-16 without a byte-order mark
            problems.add("lines with NUL bytes", number)
            continue
        try:
            yield number, raw.decode(encoding)
        except UnicodeDecodeError:
            problems.add(INVALID if encoding == UTF8 else f"lines of invalid {encoding}", number)


def _paired(
    numbered: Iterator[tuple[int, str]], path: Path, sources: Path, layout: Layout, problems: Problems
) -> Iterator[Row]:
    """The lines of two parallel files."""
    if layout.format != "txt":
        raise DataError(f"{path}: sources in a file of their own are for plain text\ntry  data.format=txt")
    if sources.suffix == ".npy":
        yield from _with_vectors(numbered, path, sources)
        return
    with _opened(sources) as file:
        others = _lines(file, problems, layout.encoding)
        waiting, last, read = next(others, None), 0, 0
        for number, line in numbered:
            while waiting is not None and waiting[0] < number:  # its own line was unusable, and has been counted
                waiting = next(others, None)
            last = number
            if waiting is not None and waiting[0] == number:
                yield Row(number, line, None, source=waiting[1])
                read, waiting = number, next(others, None)
        total = last
        while waiting is not None:
            total, waiting = waiting[0], next(others, None)
    if total > last or read < last:
        count = total if total > last else read
        raise DataError(
            f"{path} has {last:,} lines and {sources} has {count:,}: each line of one belongs to the same line of the "
            "other\ntry  files with the same number of lines"
        )


def _with_vectors(numbered: Iterator[tuple[int, str]], path: Path, sources: Path) -> Iterator[Row]:
    """The lines of a file whose sources are the rows of an array."""
    from lvexp.data.features import opened

    yield from (Row(number, line, None) for number, line in numbered)
    with _opened(path) as file:
        lines, size = sum(1 for _ in file), len(opened(sources))
    if lines != size:
        raise DataError(
            f"{path} has {lines:,} lines and {sources} has {size:,} rows: each row is the source of one line\n"
            "try  files with the same number of both"
        )


def _clean(found: Iterator[Row], problems: Problems) -> Iterator[Row]:
    for row in found:
        text, source = _blanks(row.text), row.source
        if source is not None and not (source := _blanks(source)):
            problems.add("lines without a source", row.line)
        elif text:
            yield row._replace(text=text, source=source)
        else:
            problems.add("blank lines", row.line)


def _blanks(text: str) -> str:
    # The same rule for all formats: runs of white space become one blank, so a text is always one line. All white space
    # except the blank is unprintable, so most lines need no splitting.
    text = text.strip()
    return " ".join(text.split()) if "  " in text or not text.isprintable() else text


def _table(numbered: Iterator[tuple[int, str]], path: Path, layout: Layout, problems: Problems) -> Iterator[Row]:
    """Rows of a .tsv (split at tabs, no quoting) or a .csv (quoted as spreadsheets do)."""
    fields = _quoted(numbered, problems) if layout.format == "csv" else _tabbed(numbered)
    first = next(fields, None)
    if first is None:
        return
    chosen = (layout.text, layout.label, layout.split, layout.source, layout.group, layout.tags, *layout.attributes)
    text, label, split, source, group, tagged, *attributes = (
        _number(column, first[1], path, layout) for column in chosen
    )
    assert text is not None

    def picked(number: int, row: list[str]) -> Row | None:
        labelled, to, *others = (None if at is None else row[at] or None for at in (label, split, *attributes))
        beside = (None if at is None else row[at] for at in (source, group))
        made = Row(number, row[text], labelled, to, *beside, attributes=tuple(others))
        return made if tagged is None else _tagged(made, row[tagged], problems)

    width = len(first[1])
    if not layout.header and (made := picked(*first)):
        yield made
    for number, row in fields:
        if len(row) == width:
            if made := picked(number, row):
                yield made
        elif not any(row):
            problems.add("blank lines", number)
        else:
            problems.add(f"lines without the {width} columns of the first line", number)


def _tabbed(numbered: Iterator[tuple[int, str]]) -> Iterator[tuple[int, list[str]]]:
    for number, line in numbered:
        yield number, line.rstrip("\r\n").split("\t")


def _quoted(numbered: Iterator[tuple[int, str]], problems: Problems) -> Iterator[tuple[int, list[str]]]:
    at = 0

    def remember() -> Iterator[str]:
        nonlocal at
        for number, line in numbered:
            at = number
            yield line

    reader = csv.reader(remember())
    while True:
        before = at
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error:  # an unclosed quote takes in lines until the field is too large
            problems.add("broken CSV rows", before + 1)
            continue
        yield before + 1, row


def _number(column: str | int | None, first: list[str], path: Path, layout: Layout) -> int | None:
    """The 0-based number of ``column`` in a file whose first line is ``first``."""
    if column is None or isinstance(column, int):
        if column is not None and not 0 <= column < len(first):
            raise DataError(
                f"{path}: has no column {column}: its first line has {len(first)} columns (counted from 0)\n"
                f"try  data.columns.text=N and data.columns.label=N (or null), and look at data.format={layout.format}"
            )
        return column
    names = [name.strip() for name in first]
    if column not in names:
        raise DataError(
            f"{path}: has no column '{column}'; its first line names {', '.join(names)}\n"
            "try  data.columns.text=NAME and data.columns.label=NAME (or null), or numbers with data.header=false"
        )
    if names.count(column) > 1:
        places = " | ".join(f"{place}" for place, name in enumerate(names) if name == column)
        raise DataError(
            f"{path}: its first line names '{column}' more than once\n"
            f"try  the column's number instead, counted from 0 ({places}), with data.header=true"
        )
    return names.index(column)


def _objects(numbered: Iterator[tuple[int, str]], path: Path, layout: Layout, problems: Problems) -> Iterator[Row]:
    known = False
    for number, line in numbered:
        if not line.strip():
            problems.add("blank lines", number)
            continue
        try:
            item = json.loads(line)
        except (ValueError, RecursionError):  # a number with too many digits
            problems.add("lines of broken JSON", number)
            continue
        if not isinstance(item, dict):
            problems.add("lines that are no JSON object", number)
            continue
        text = item.get(str(layout.text))
        if not isinstance(text, str):
            if not known:
                raise DataError(
                    f"{path}: the object in line {number} has no text under the key '{layout.text}'; its keys are "
                    f"{', '.join(item) or 'none'}\ntry  data.columns.text=KEY"
                )
            problems.add(f"lines without text under '{layout.text}'", number)
            continue
        known = True
        source, group = (None if key is None else str(item.get(str(key), "")) for key in (layout.source, layout.group))
        keys = (layout.label, layout.split, *layout.attributes)
        chosen = (None if key is None else item.get(str(key)) for key in keys)
        label, split, *attributes = (None if value is None or value == "" else str(value) for value in chosen)
        try:
            "".join(filter(None, (text, source, label, *attributes))).encode()
        except UnicodeEncodeError:  # JSON can contain half a surrogate pair, which no encoder accepts
            problems.add("lines of invalid UTF-8", number)
            continue
        made: Row | None = Row(number, text, label, split, source, group, tuple(attributes))
        if layout.tags is not None:
            made = _tagged(made, str(item.get(str(layout.tags)) or ""), problems)
        if made:
            yield made


def _tagged(row: Row, text: str, problems: Problems) -> Row | None:
    """The row with its tags; None if it has none, or what is written there are no tags."""
    try:
        found = tags.parse(text)
    except ValueError:
        problems.add("lines with malformed tags (KEY=VALUE,KEY=VALUE)", row.line)
        return None
    if not found:
        problems.add("lines without tags", row.line)
        return None
    return row._replace(tags=found)


def _counted(numbered: Iterator[tuple[int, str]], layout: Layout, problems: Problems) -> Iterator[Row]:
    """Rows of a .feat file: an optional class and ``id:count`` pairs, separated by blanks."""
    for number, line in numbered:
        label, _, pairs = line.strip().partition(" ")
        if ":" in label:
            label, pairs = None, line.strip()
        if _PAIRS.fullmatch(pairs):
            yield Row(number, pairs, None if layout.label is None else label)
        else:
            problems.add("lines that are no class and id:count pairs (counts below 10^9)", number)
