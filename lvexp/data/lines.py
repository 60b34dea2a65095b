"""Files that a finished run is asked about: a text on each line, or a feature vector in each row."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lvexp.errors import ConfigError, DataError


def read(name: str) -> Sequence[Any]:
    """The lines of a text file in UTF-8, or of standard input (``-``); the rows of a ``.npy`` file.

    Raises:
        DataError: the file cannot be read, or is empty.
    """
    if name.endswith(".npy"):
        from lvexp.data.features import opened

        return list(opened(Path(name)))
    try:
        if name == "-":
            found = [line.rstrip("\n") for line in sys.stdin]
        else:
            with open(name, encoding="utf-8") as file:
                found = [line.rstrip("\n") for line in file]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not in UTF-8"
        raise DataError(f"{name}: cannot be read: {reason}\ntry  a text file in UTF-8, one text a line") from error
    if not found:
        raise DataError(f"{name}: holds no lines\ntry  one text a line")
    return found


def rewrites(name: str, count: int) -> list[str]:
    """A rewrite for each of ``count`` test texts, in their order: a line, or what follows its last tab.

    Raises:
        DataError: the file cannot be read. ConfigError: it has no lines, or another number of them.
    """
    return [line.rpartition("\t")[2] for line in _of_test(name, count)]


def references(name: str, count: int) -> list[list[str]]:
    """The references of each of ``count`` test texts, in their order: what tabs separate in a line. Errors as of
    :func:`rewrites`."""
    return [[each for each in line.split("\t") if each.strip()] for line in _of_test(name, count)]


def _of_test(name: str, count: int) -> list[str]:
    """The lines of a file that has one for each test text."""
    typed, other = f"evaluation.references={name}", "evaluation.references=null"
    if name.endswith(".npy"):
        raise ConfigError(f"{typed}: holds feature vectors, not texts\ntry  a text file | {other}")
    try:
        found = read(str(Path(name).expanduser()))
    except DataError as error:
        raise DataError(f"evaluation.references={error} | {other}") from error
    if len(found) != count:
        raise ConfigError(
            f"{typed}: has {len(found):,} lines, and the test set has {count:,} texts\n"
            f"try  a file with one line for each test text, in the same order | {other}"
        )
    return [str(line) for line in found]


def beside(first: str, second: str, given: Sequence[Any], others: Sequence[Any]) -> None:
    """Raises :class:`DataError` if two files do not have the same number of lines."""
    if len(given) != len(others):
        raise DataError(
            f"{first} has {len(given):,} lines and {second} has {len(others):,}: each line of one belongs to the same "
            "line of the other\ntry  files with the same number of lines"
        )


def writable(option: str, name: str | None) -> None:
    """Raises :class:`DataError` if there is no folder for a file that will be written."""
    if name is not None and not (folder := Path(name).absolute().parent).is_dir():
        raise DataError(f"{option} {name}: there is no folder {folder}\ntry  mkdir -p {folder}")


def write(option: str, name: str | None, lines: Iterable[str]) -> None:
    """Writes lines to a file, or to standard output if there is no name.

    Raises:
        DataError: the file cannot be written.
    """
    if name is None:
        sys.stdout.writelines(f"{line}\n" for line in lines)
        sys.stdout.flush()
        return
    try:
        with open(name, "w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
    except OSError as error:
        raise DataError(f"{option} {name}: cannot be written: {error.strerror}\ntry  another file") from error
