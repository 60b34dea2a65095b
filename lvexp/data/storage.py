"""Encoded texts on disk: written as a stream, read through memory maps.

A split consists of five flat arrays: ``tokens`` (all texts, concatenated), ``offsets`` (where each text begins, and the
last ends), ``lengths``, ``order`` (the rows sorted by length, then by the length of the source, ties by row), and
``labels`` if the corpus has them. With sources there are also ``source.tokens`` and ``source.offsets``, or
``source.vectors``, with groups ``groups``, a number for each row, and with attributes ``attributes``, [N, A].
Neither writing nor reading holds more than a chunk in memory, whatever the size of the corpus.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import mmap
import os
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lvexp.data.batch import Batch
from lvexp.data.special import PAD, UNK

CHUNK = 1 << 15  # rows sorted at a time
ROW, LENGTH, LABEL = np.dtype("<u4"), np.dtype("<u4"), np.dtype("<i4")
OFFSET, VECTOR = np.dtype("<u8"), np.dtype("<f4")
SHIFT = 32  # bits for the length of a source in a sort key


def token_type(vocabulary_size: int) -> np.dtype:
    """The smallest integer type that can represent every id."""
    return np.dtype("<u2") if vocabulary_size <= 1 << 16 else np.dtype("<u4")


class Stored:
    """A read-only array in a file, mapped into memory.

    Use :meth:`gather` to read scattered places: with the map, every page touched counts as memory of this process, so
    that after an epoch the whole corpus would be counted, and it is slower.
    """

    def __init__(self, path: Path, dtype: np.dtype) -> None:
        self._file, self._dtype = os.open(path, os.O_RDONLY), dtype
        weakref.finalize(self, os.close, self._file)
        self.array: np.ndarray = np.frombuffer(mmap.mmap(self._file, 0, access=mmap.ACCESS_READ), dtype)

    def gather(self, places: np.ndarray, width: int = 1) -> npt.NDArray[Any]:
        """Copies of ``width`` entries, starting at each of ``places``, [N, width]; integers get 64 bits."""
        size = self._dtype.itemsize
        found = [os.pread(self._file, width * size, place) for place in (places * size).tolist()]
        copied = np.frombuffer(b"".join(found), self._dtype).reshape(-1, width)
        return copied.copy() if self._dtype.kind == "f" else copied.astype(np.int64)


class Split:
    """The encoded texts of one split.

    Attributes:
        lengths: tokens of each text with ``<bos>`` and ``<eos>``, [N].
        labels: class of each text, -1 if it is not observed, [N]; None if the corpus has no labels.
        attributes: class of each text in each further column, -1 if it is not known, [N, A]; None if there are none.
        order: rows sorted by length, then by the length of the source, ties by row, [N].
        buckets: (length, number of texts of that length), ascending; consecutive in :attr:`order`.
        alike: whether neighbours in :attr:`order` have sources of similar length.
        vectors: number and width of the feature vectors of each text's source; None if sources are texts.
    """

    def __init__(self, folder: Path, name: str, summary: dict[str, Any]) -> None:
        self.name = name
        self.buckets: list[tuple[int, int]] = [(int(length), int(count)) for length, count in summary["buckets"]]
        self._size = int(summary["rows"])
        self._tokens = Stored(folder / f"{name}.tokens", np.dtype(summary["tokens"]))
        self._offsets = Stored(folder / f"{name}.offsets", OFFSET)
        self._order = Stored(folder / f"{name}.order", ROW)
        self._labels = Stored(folder / f"{name}.labels", LABEL) if summary["labels"] else None
        self._groups = Stored(folder / f"{name}.groups", ROW) if summary["groups"] else None
        self._width = int(summary.get("attributes", 0))
        self._attributes = Stored(folder / f"{name}.attributes", LABEL) if self._width else None
        self._source = None
        self.alike = bool(summary["source"])
        self.vectors: tuple[int, int] | None = tuple(found) if (found := summary.get("vectors")) else None
        if self.vectors:
            self._source = Stored(folder / f"{name}.source.vectors", VECTOR)
        elif summary["source"]:
            self._source = Stored(folder / f"{name}.source.tokens", np.dtype(summary["tokens"]))
            self._source_offsets = Stored(folder / f"{name}.source.offsets", OFFSET)
        self.lengths = Stored(folder / f"{name}.lengths", LENGTH).array
        self.order = self._order.array
        self.labels = None if self._labels is None else self._labels.array
        self.attributes = None if self._attributes is None else self._attributes.array.reshape(-1, self._width)

    def __len__(self) -> int:
        return self._size

    def row(self, number: int) -> np.ndarray:
        """The ids of text ``number``, [T]."""
        if not 0 <= number < len(self):
            raise IndexError(f"row {number} of split {self.name}, which has {len(self)}")
        start, end = self._offsets.array[number : number + 2].tolist()
        return self._tokens.array[start:end]

    def sorted(self, places: np.ndarray) -> npt.NDArray[np.int64]:
        """The rows at ``places`` of :attr:`order`, [B]."""
        return self._order.gather(places)[:, 0]

    def block(self, numbers: np.ndarray, length: int) -> npt.NDArray[np.int64]:
        """The ids of several texts that all have ``length`` tokens, [B, T]."""
        return self._tokens.gather(self._offsets.gather(numbers)[:, 0], length)

    def batch(self, places: np.ndarray, length: int) -> Batch:
        """The texts at ``places`` of :attr:`order`, which all have ``length`` tokens."""
        rows = self.sorted(places)
        others = {"labels": self.classes(rows), "source": self.sources(rows), "group": self.members(rows)}
        if self._attributes is not None:
            others["attributes"] = self._attributes.gather(rows * self._width, self._width)
        return Batch(
            tokens=torch.from_numpy(self.block(rows, length)),
            lengths=torch.full((len(rows),), length),
            index=torch.from_numpy(rows),
            **{name: torch.from_numpy(found) for name, found in others.items() if found is not None},
        )

    def classes(self, numbers: np.ndarray) -> npt.NDArray[np.int64] | None:
        """The labels of several texts, [B]; None if the corpus has none."""
        return None if self._labels is None else self._labels.gather(numbers)[:, 0]

    def members(self, numbers: np.ndarray) -> npt.NDArray[np.int64] | None:
        """The groups of several texts, [B]; None if the corpus has none."""
        return None if self._groups is None else self._groups.gather(numbers)[:, 0]

    def sources(self, numbers: np.ndarray) -> npt.NDArray[Any] | None:
        """The sources of several texts, padded, [B, T2], or their feature vectors, [B, T2, F]; None if the corpus has
        none."""
        if self._source is None:
            return None
        if self.vectors:
            size = math.prod(self.vectors)
            return self._source.gather(numbers * size, size).reshape(-1, *self.vectors)
        starts, ends = self._source_offsets.gather(numbers, 2).T
        found = np.full((len(numbers), int((ends - starts).max())), PAD, np.int64)
        for row, start, end in zip(found, starts, ends, strict=True):
            row[: end - start] = self._source.gather(np.array([start]), int(end - start))[0]
        return found


class SplitWriter:
    """Appends encoded texts to the files of one split. As a context manager it closes them."""

    def __init__(
        self,
        folder: Path,
        name: str,
        dtype: np.dtype,
        labelled: bool,
        sourced: bool = False,
        grouped: bool = False,
        vectors: tuple[int, int] | None = None,
        attributes: int = 0,
    ) -> None:
        self.rows = self.size = self.unknown = 0
        self._folder, self._name, self._dtype = folder, name, dtype
        self._labelled, self._sourced, self._grouped, self._vectors = labelled, sourced, grouped, vectors
        self._group, self._number, self._source_size, self._attributes = None, -1, 0, attributes
        kinds = ["tokens", "offsets", "lengths", *(["labels"] if labelled else []), *(["groups"] if grouped else [])]
        kinds += ["attributes"] if attributes else []
        kinds += ["source.tokens", "source.offsets"] if sourced else ["source.vectors"] if vectors else []
        self._files = {kind: open(folder / f"{name}.{kind}", "wb") for kind in kinds}  # noqa: SIM115
        for kind in ("offsets", *(["source.offsets"] if sourced else [])):
            self._files[kind].write(np.zeros(1, OFFSET).tobytes())

    def __enter__(self) -> SplitWriter:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()

    def add(
        self,
        texts: list[list[int]],
        labels: list[int],
        sources: Sequence[list[int]] = (),
        groups: Sequence[str] = (),
        vectors: np.ndarray | None = None,
        attributes: Sequence[Sequence[int]] = (),
    ) -> None:
        """Appends ``texts`` (ids with ``<bos>`` and ``<eos>``) and, if the split has them, their ``labels``,
        ``sources``, ``groups``, ``vectors`` [N, T2, F] and ``attributes`` [N, A]. The rows of a group are consecutive:
        a new group begins when the name changes."""
        lengths = np.fromiter(map(len, texts), LENGTH, len(texts))
        tokens = np.fromiter(itertools.chain.from_iterable(texts), self._dtype, int(lengths.sum()))
        offsets = self.size + np.cumsum(lengths, dtype=OFFSET)
        self._write(tokens=tokens, offsets=offsets, lengths=lengths)
        if self._labelled:
            self._write(labels=np.asarray(labels, LABEL))
        if self._attributes:
            self._write(attributes=np.asarray(attributes, LABEL))
        if self._sourced:
            ends = self._source_size + np.cumsum(np.fromiter(map(len, sources), LENGTH, len(sources)), dtype=OFFSET)
            flat = np.fromiter(itertools.chain.from_iterable(sources), self._dtype, sum(map(len, sources)))
            self._write(**{"source.tokens": flat, "source.offsets": ends})
            self._source_size += len(flat)
        if vectors is not None:
            self._write(**{"source.vectors": vectors.astype(VECTOR)})
        if self._grouped:
            self._write(groups=np.fromiter(map(self._numbered, groups), ROW, len(groups)))
        self.rows += len(texts)
        self.size += len(tokens)
        self.unknown += int((tokens == UNK).sum())

    def finish(self) -> dict[str, Any]:
        """Sorts the closed files by length and returns the summary that :class:`Split` needs."""
        return {
            "rows": self.rows,
            "buckets": self._sort(),
            "tokens": self._dtype.str,
            "labels": self._labelled,
            "source": self._sourced,
            "vectors": self._vectors,
            "groups": self._grouped,
            "attributes": self._attributes,
            # <bos> and <eos> are never unknown and are not words.
            "oov": self.unknown / max(1, self.size - 2 * self.rows),
        }

    def _numbered(self, group: str) -> int:
        if group != self._group:
            self._group, self._number = group, self._number + 1
        return self._number

    def _write(self, **arrays: np.ndarray) -> None:
        for kind, array in arrays.items():
            self._files[kind].write(array.tobytes())

    def _sort(self) -> list[tuple[int, int]]:
        """Counting sort: one pass to count the keys, one to put each row in its place in the file."""
        counts: Counter[int] = Counter()
        for _, keys in self._chunks():
            counts.update(dict(zip(*(part.tolist() for part in np.unique(keys, return_counts=True)), strict=True)))
        ordered = sorted(counts.items())
        ends = itertools.accumulate(count for _, count in ordered)
        place = {key: end - count for (key, count), end in zip(ordered, ends, strict=True)}
        with open(self._folder / f"{self._name}.order", "wb") as file:
            for start, keys in self._chunks():
                inside = np.argsort(keys, kind="stable").astype(ROW)
                found, first = np.unique(keys[inside], return_index=True)
                for key, part in zip(found.tolist(), np.split(inside, first[1:]), strict=True):
                    file.seek(place[key] * ROW.itemsize)
                    file.write((part + ROW.type(start)).tobytes())
                    place[key] += len(part)
        buckets: Counter[int] = Counter()
        for key, count in ordered:
            buckets[key >> SHIFT] += count
        return sorted(buckets.items())

    def _chunks(self) -> Iterator[tuple[int, np.ndarray]]:
        """First row and sort keys of each chunk: a text's length and, in the lower bits, its source's."""
        with contextlib.ExitStack() as stack:
            read = stack.enter_context(open(self._folder / f"{self._name}.lengths", "rb"))
            ends = None
            if self._sourced:
                ends = stack.enter_context(open(self._folder / f"{self._name}.source.offsets", "rb"))
            for start in itertools.count(0, CHUNK):
                lengths = np.frombuffer(read.read(CHUNK * LENGTH.itemsize), LENGTH)
                if not len(lengths):
                    return
                keys = lengths.astype(np.uint64) << np.uint64(SHIFT)
                if ends is not None:
                    ends.seek(start * OFFSET.itemsize)
                    keys |= np.diff(np.frombuffer(ends.read((len(lengths) + 1) * OFFSET.itemsize), OFFSET))
                yield start, keys
