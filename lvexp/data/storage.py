"""Encoded texts on disk: written as a stream, read through memory maps.

A split is five flat arrays: ``tokens`` of all texts one after another, ``offsets`` where each begins (and the last
ends), ``lengths``, ``order`` (the rows sorted by length, ties by row), and ``labels`` where the corpus has them.
Neither writing nor reading holds more than a chunk in memory, however long the corpus.
"""

from __future__ import annotations

import itertools
import mmap
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from lvexp.special import UNK

CHUNK = 1 << 15  # rows sorted at a time
RELEASE = 128  # rows read between two releases of the mapped pages
ROW, LENGTH, LABEL = np.dtype("<u4"), np.dtype("<u4"), np.dtype("<i4")
OFFSET = np.dtype("<u8")


def token_type(vocabulary_size: int) -> np.dtype:
    """The smallest type that holds every id."""
    return np.dtype("<u2") if vocabulary_size <= 1 << 16 else np.dtype("<u4")


class Mapped:
    """A read-only array in a file. Its pages can be handed back, so that reading all of it takes no memory."""

    def __init__(self, path: Path, dtype: np.dtype) -> None:
        with open(path, "rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.array: np.ndarray = np.frombuffer(self._map, dtype=dtype)

    def release(self) -> None:
        """Gives the pages read so far back to the system, which keeps them cached as it sees fit."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)


class Split:
    """The encoded texts of one split.

    Attributes:
        lengths: tokens of each text with ``<bos>`` and ``<eos>``, [N].
        labels: class of each text, -1 where it is not observed, [N]; None if the corpus has none.
        order: rows sorted by length, ties by row, [N].
        buckets: (length, texts of that length), ascending; they follow one another in :attr:`order`.
    """

    def __init__(self, folder: Path, name: str, summary: dict[str, Any]) -> None:
        self.name = name
        self.buckets: list[tuple[int, int]] = [(int(length), int(count)) for length, count in summary["buckets"]]
        self._size = int(summary["rows"])
        self._maps = {
            "tokens": Mapped(folder / f"{name}.tokens", np.dtype(summary["tokens"])),
            "offsets": Mapped(folder / f"{name}.offsets", OFFSET),
            "lengths": Mapped(folder / f"{name}.lengths", LENGTH),
            "order": Mapped(folder / f"{name}.order", ROW),
        }
        if summary["labels"]:
            self._maps["labels"] = Mapped(folder / f"{name}.labels", LABEL)
        self.lengths = self._maps["lengths"].array
        self.order = self._maps["order"].array
        self.labels = self._maps["labels"].array if "labels" in self._maps else None
        self._tokens, self._offsets = self._maps["tokens"].array, self._maps["offsets"].array
        self._since_release = 0

    def __len__(self) -> int:
        return self._size

    def row(self, number: int) -> np.ndarray:
        """The ids of text ``number``, [T]."""
        if not 0 <= number < len(self):
            raise IndexError(f"row {number} of split {self.name}, which has {len(self)}")
        return self._tokens[int(self._offsets[number]) : int(self._offsets[number + 1])]

    def rows(self, numbers: Iterable[SupportsIndex]) -> list[np.ndarray]:
        """The ids of several texts."""
        return [self.row(int(number)) for number in numbers]

    def block(self, numbers: np.ndarray, length: int) -> npt.NDArray[np.int64]:
        """The ids of several texts that all have ``length`` tokens, as a copy, [B, T]."""
        places = self._offsets[numbers].astype(np.int64)[:, None] + np.arange(length)
        found = self._tokens[places].astype(np.int64)
        self._since_release += len(numbers)
        if self._since_release >= RELEASE:
            self.release()
        return found

    def release(self) -> None:
        """Gives the pages read so far back to the system."""
        self._since_release = 0
        for mapped in self._maps.values():
            mapped.release()


class SplitWriter:
    """Appends encoded texts to the files of one split. A context manager, which closes them."""

    def __init__(self, folder: Path, name: str, dtype: np.dtype, labelled: bool) -> None:
        self.rows = self.size = self.unknown = 0
        self._folder, self._name, self._dtype, self._labelled = folder, name, dtype, labelled
        kinds = ["tokens", "offsets", "lengths", *(["labels"] if labelled else [])]
        self._files = {kind: open(folder / f"{name}.{kind}", "wb") for kind in kinds}  # noqa: SIM115
        self._files["offsets"].write(np.zeros(1, OFFSET).tobytes())

    def __enter__(self) -> SplitWriter:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()

    def add(self, texts: list[list[int]], labels: list[int]) -> None:
        """Appends ``texts`` (ids with ``<bos>`` and ``<eos>``) and, if the split is labelled, their ``labels``."""
        lengths = np.fromiter(map(len, texts), LENGTH, len(texts))
        tokens = np.fromiter(itertools.chain.from_iterable(texts), self._dtype, int(lengths.sum()))
        offsets = self.size + np.cumsum(lengths, dtype=OFFSET)
        self._write(tokens=tokens, offsets=offsets, lengths=lengths)
        if self._labelled:
            self._write(labels=np.asarray(labels, LABEL))
        self.rows += len(texts)
        self.size += len(tokens)
        self.unknown += int((tokens == UNK).sum())

    def finish(self) -> dict[str, Any]:
        """Sorts the closed files by length, and returns the summary that :class:`Split` needs."""
        return {
            "rows": self.rows,
            "buckets": self._sort(),
            "tokens": self._dtype.str,
            "labels": self._labelled,
            # <eos> is never unknown and is not a word; <bos> neither.
            "oov": self.unknown / max(1, self.size - 2 * self.rows),
        }

    def _write(self, **arrays: np.ndarray) -> None:
        for kind, array in arrays.items():
            self._files[kind].write(array.tobytes())

    def _sort(self) -> list[tuple[int, int]]:
        """Counting sort: one pass to count the lengths, one to put each row in its place in the file."""
        counts: Counter[int] = Counter()
        for _, lengths in self._chunks():
            counts.update(dict(zip(*(part.tolist() for part in np.unique(lengths, return_counts=True)), strict=True)))
        buckets = sorted(counts.items())
        ends = itertools.accumulate(count for _, count in buckets)
        place = {length: end - count for (length, count), end in zip(buckets, ends, strict=True)}
        with open(self._folder / f"{self._name}.order", "wb") as file:
            for start, lengths in self._chunks():
                inside = np.argsort(lengths, kind="stable").astype(ROW)
                found, first = np.unique(lengths[inside], return_index=True)
                for length, part in zip(found.tolist(), np.split(inside, first[1:]), strict=True):
                    file.seek(place[length] * ROW.itemsize)
                    file.write((part + ROW.type(start)).tobytes())
                    place[length] += len(part)
        return buckets

    def _chunks(self) -> Iterator[tuple[int, np.ndarray]]:
        with open(self._folder / f"{self._name}.lengths", "rb") as file:
            for start in itertools.count(0, CHUNK):
                lengths = np.frombuffer(file.read(CHUNK * LENGTH.itemsize), LENGTH)
                if not len(lengths):
                    return
                yield start, lengths
