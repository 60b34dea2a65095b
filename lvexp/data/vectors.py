"""Word vectors from a file in word2vec's text or binary format, or GloVe's."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from io import BufferedIOBase
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lvexp.errors import ConfigError, DataError

Vector = npt.NDArray[np.float32]


def read_vectors(path: str | Path, words: Sequence[str], width: int) -> dict[int, Vector]:
    """The vectors of those ``words`` that the file has, by their index in the list. A word that is not in the file
    exactly gets the vector of the first entry that differs only in case. The file is read as a stream.

    Args:
        path: a text file of lines ``word x1 … xD``, with word2vec's first line ``N D`` or without it (GloVe), or
            word2vec's binary format if the name ends in ``.bin``; ``.gz`` may follow.
        words: that are wanted.
        width: D that is wanted.

    Raises:
        DataError: the file cannot be read, or none of the words is in it.
        ConfigError: its vectors have a different width.
    """
    path = Path(os.path.expanduser(path))
    places = {word: place for place, word in enumerate(words)}
    exact: dict[int, Vector] = {}
    near: dict[int, Vector] = {}
    try:
        with _opened(path) as file:
            entries = _binary(file, path, width) if ".bin" in path.suffixes else _text(file, path, width)
            for word, vector in entries:
                if word in places:
                    exact[places[word]] = vector()
                elif (lower := word.lower()) in places:
                    near.setdefault(places[lower], vector())
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"embeddings.path={path}: cannot be read: {error}\ntry  another file") from error
    if not all(np.isfinite(vector).all() for vector in (*exact.values(), *near.values())):
        raise DataError(f"embeddings.path={path}: holds numbers that are not finite\ntry  another file")
    if not exact and not near:
        raise DataError(f"embeddings.path={path}: holds none of the corpus's words\ntry  vectors of its language")
    return near | exact


def _opened(path: Path) -> BufferedIOBase:
    return gzip.GzipFile(path, "rb") if path.suffix == ".gz" else path.open("rb")


def _text(file: Iterable[bytes], path: Path, width: int) -> Iterator:
    for number, line in enumerate(file):
        word, *numbers = line.rstrip().decode(errors="replace").split(" ")
        if number == 0 and len(numbers) == 1:
            _same(int(numbers[0]), width, path)
            continue
        if len(numbers) < width or number == 0:
            _same(len(numbers), width, path)
        # a word may contain blanks
        yield (
            " ".join([word, *numbers[:-width]]),
            lambda numbers=numbers: np.array(numbers[-width:], np.float32),
        )


def _binary(file: BufferedIOBase, path: Path, width: int) -> Iterator:
    count, found = map(int, file.readline().split())
    _same(found, width, path)
    for _ in range(count):
        word = bytearray()
        while (byte := file.read(1)) != b" ":
            if not byte:
                raise EOFError("it ends in the middle")
            if byte != b"\n":  # some writers end an entry with a newline
                word += byte
        if len(numbers := file.read(4 * width)) < 4 * width:
            raise EOFError("it ends in the middle")
        yield word.decode(errors="replace"), lambda numbers=numbers: np.frombuffer(numbers, "<f4").copy()


def _same(found: int, width: int, path: Path) -> None:
    if found != width:
        raise ConfigError(
            f"embeddings.path={path}: its vectors have {found} numbers, encoder.embedding={width}\n"
            f"try  encoder.embedding={found}"
        )
