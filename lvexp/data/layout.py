"""The layout of rows in a file: its format, and where a row has its text and the other columns."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from lvexp.data.settings import UTF8, DataSettings
from lvexp.errors import ConfigError

FORMATS = ("txt", "tsv", "csv", "jsonl", "feat")
SUFFIXES = {".txt": "txt", ".tsv": "tsv", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".feat": "feat"}
#: columns that a file may have in addition to the text
COLUMNS = ("label", "split", "source", "group")


class Layout(NamedTuple):
    """The layout of rows in a file. ``text``, the columns of :data:`COLUMNS` and the ``attributes`` are column names or
    0-based numbers."""

    format: str
    header: bool
    text: str | int
    label: str | int | None
    split: str | int | None = None
    source: str | int | None = None
    group: str | int | None = None
    attributes: tuple[str | int, ...] = ()
    tags: str | int | None = None
    encoding: str = UTF8

    @classmethod
    def of(cls, path: Path, settings: DataSettings) -> Layout:
        """The layout of ``path`` under the settings. Raises ConfigError if they disagree."""
        kind, columns = _format(path, settings), settings.columns
        if kind == "feat" and not settings.counted:
            raise ConfigError(
                f"{path}: holds counts of words, not texts\ntry  data.view=counts with model=nvdm, or data.format=txt"
            )
        text, *others = columns.text, *(getattr(columns, name) for name in COLUMNS)
        attributes = tuple(columns.attributes or ())
        if attributes:
            _check_attributes(attributes, text, others[0], kind, path)
        for name, column in (*zip(COLUMNS, others, strict=True), ("tags", columns.tags)):
            if kind == "txt" and column is not None:
                raise ConfigError(
                    f"data.columns.{name}={column}: {path.name} is read as plain text, which has no columns\n"
                    f"try  data.columns.{name}=null, or data.format=tsv|csv|jsonl if the file does have columns"
                )
            if kind in ("tsv", "csv", "jsonl") and column is not None and column == text:
                raise ConfigError(
                    f"data.columns.text={text} data.columns.{name}={column}: are the same column of {path.name}\n"
                    f"try  data.columns.{name}=null, or another column"
                )
        named = any(isinstance(column, str) for column in (text, *others, *attributes, columns.tags))
        header = settings.header
        if kind in ("tsv", "csv") and named and header is False:
            raise ConfigError(
                f"data.columns={{text: {text}, label: {others[0]}}}: columns are given by name but data.header=false "
                "says that the first line does not name them\n"
                "try  data.header=true, or columns by number, counted from 0"
            )
        header = named if header is None else bool(header)
        return cls(kind, header, text, *others, attributes=attributes, tags=columns.tags, encoding=settings.encoding)

    @classmethod
    def of_texts(cls, path: Path, settings: DataSettings) -> Layout:
        """The layout of a file of which only the texts are read; it may be of another format than the others."""
        header, text = settings.header, settings.columns.text
        kind = _by_name(path) or _format(path, settings)
        return cls(
            kind, isinstance(text, str) if header is None else bool(header), text, None, encoding=settings.encoding
        )


def _by_name(path: Path) -> str:
    """The format that a file's name says; empty if it says none."""
    suffixes = [suffix for suffix in path.suffixes if suffix != ".gz"]
    return SUFFIXES.get(suffixes[-1].lower() if suffixes else "", "")


def _format(path: Path, settings: DataSettings) -> str:
    """The format of a file: what is set or, with ``auto``, what its name says."""
    kind = settings.format or "auto"
    if kind == "auto":
        kind = _by_name(path)
        if not kind:
            raise ConfigError(
                f"{path}: the format does not show in the file's name, which ends in none of "
                f"{' '.join(SUFFIXES)} (or these with .gz)\ntry  data.format={'|'.join(FORMATS)}"
            )
    return kind


def _check_attributes(
    attributes: tuple[str | int, ...], text: str | int, label: str | int | None, kind: str, path: Path
) -> None:
    """Rejects attributes of a format without columns, and a column that is named twice."""
    typed = f"data.columns.attributes=[{','.join(map(str, attributes))}]"
    if kind in ("txt", "feat"):
        what = "plain text, which has no columns" if kind == "txt" else "counts, which have one class"
        raise ConfigError(
            f"{typed}: {path.name} is read as {what}\n"
            "try  data.columns.attributes=null, or data.format=tsv|csv|jsonl if the file does have columns"
        )
    if twice := [column for column, count in Counter(attributes).items() if count > 1]:
        raise ConfigError(f"{typed}: names {twice[0]} more than once\ntry  each column once")
    for name, column in (("text", text), ("label", label)):
        if column in attributes:
            raise ConfigError(
                f"data.columns.{name}={column} {typed}: name the same column of {path.name}\n"
                "try  attributes are further columns, beside the text and its label"
            )
