"""Corpora of bags of words: counted once into a cache, sparse on disk and in memory, dense in each batch."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lvexp.data.allotted import chunks
from lvexp.data.bag import Bag, batch
from lvexp.data.batch import Batch
from lvexp.data.corpus import cached
from lvexp.data.encoding import Survey, empty
from lvexp.data.known import Known, splits_of
from lvexp.data.layout import Layout
from lvexp.data.problems import Problems
from lvexp.data.rows import Row
from lvexp.data.settings import DataSettings
from lvexp.data.source import SPLITS, words
from lvexp.errors import DataError

if TYPE_CHECKING:
    from scipy.sparse import csr_array


class Documents:
    """The bags of words of one split.

    Attributes:
        counts: sparse, [N, V].
        labels: class of each document, -1 if it is not observed, [N]; None if the corpus has no labels.
        buckets: a single one: the documents of a batch need not have the same length.
    """

    alike = False

    def __init__(self, counts: csr_array, labels: np.ndarray | None) -> None:
        self.counts, self.labels = counts, labels
        self._size = int(counts.sum(1).shape[0])
        self.buckets = [(1, self._size)]

    def __len__(self) -> int:
        return self._size

    def batch(self, places: np.ndarray, length: int) -> Batch:
        """The documents at ``places``, dense."""
        labels = None if self.labels is None else torch.from_numpy(self.labels[places])
        return batch(self.counts[places], labels=labels, index=torch.from_numpy(places))


class CountCorpus:
    """A counted corpus, with the attributes of :class:`lvexp.data.corpus.Corpus`; ``oov`` is not known."""

    sources = None

    def __init__(self, folder: Path, summary: Mapping[str, Any]) -> None:
        from scipy.sparse import csr_array, load_npz

        self.vocabulary = Bag.from_json((folder / "vocabulary.json").read_text(encoding="utf-8"))
        self.labels: list[str] = summary["labels"]
        self.attributes: dict[str, list[str]] = {}
        self.splits = {
            split: Documents(
                csr_array(load_npz(folder / f"{split}.npz")),
                np.load(folder / f"{split}.labels.npy") if self.labels else None,
            )
            for split in SPLITS
            if (folder / f"{split}.npz").exists()
        }
        self.fingerprint: str = summary["fingerprint"]
        self.notes: list[str] = summary["notes"]


def open_counts(settings: DataSettings, known: Known | None = None) -> CountCorpus:
    """The corpus of these settings as bags of words, counted if it has not been yet; ``known`` as of
    :func:`lvexp.data.corpus.open_corpus`.

    Raises:
        ConfigError: a setting cannot be used.
        DataError: a file is missing or malformed, or the cache cannot be written.
    """
    return CountCorpus(*cached(settings, count, known))


def count(settings: DataSettings, folder: Path, known: Known | None = None) -> dict[str, Any]:
    """Writes the vocabulary and the counts of all splits into ``folder``; the sparse counts must fit into memory.

    Returns:
        ``labels`` (names, sorted; none if all documents have the same) and ``notes`` (what was not used).

    Raises:
        DataError: a file is malformed, or a split is empty.
    """
    from scipy.sparse import save_npz, vstack

    survey, lowercase = Survey(settings, known=known), bool(settings.lowercase)
    splits = splits_of(settings.place, known)
    listed = words(settings.place)
    if known is not None:
        assert isinstance(known.vocabulary, Bag), "the checks compare the views"
        bag = known.vocabulary
        collections.deque(survey.texts(), maxlen=0)  # for its labels and notes
    elif listed:
        bag = Bag(listed, settings.counts.pattern, lowercase)
        collections.deque(survey.texts(), maxlen=0)  # for its other notes
    else:
        bag = Bag.train(survey.texts(), settings.counts, settings.vocabulary.max_size, lowercase)
    (folder / "vocabulary.json").write_text(bag.to_json(), encoding="utf-8")
    names = sorted(survey.classes.labels, key=lambda name: (len(name), name) if name.isdigit() else (0, name))
    if known is not None and known.labels is not None:
        names = survey.names(f"label={settings.columns.label}", survey.classes.labels, known.labels)
    ids = {name: number for number, name in enumerate(names)}
    parts: dict[str, list[csr_array]] = {split: [] for split in splits}
    labels: dict[str, list[int]] = {split: [] for split in splits}
    problems: dict[Path, Problems] = {}
    for path, chunk in chunks(settings, read=splits):
        for split in splits:
            mine = [row for to, row in chunk if to == split]
            if not mine:
                continue
            counted = Layout.of(path, settings).format == "feat"
            if counted and known is not None and listed != bag.words:
                raise DataError(
                    f"{path}: counts words of another list than {known.run}\n"
                    "try  texts, or counts of the same data.counts.words"
                )
            counts = _pairs(mine, path, bag.size) if counted else bag.counts([row.text for row in mine])
            kept = np.flatnonzero(counts.sum(1))
            for number in np.flatnonzero(counts.sum(1) == 0):
                lines = problems.setdefault(path, Problems(path))
                lines.add("documents without a word of the vocabulary: skipped", mine[number].line)
            parts[split].append(counts[kept])
            labels[split] += [ids.get(mine[number].label or "", -1) for number in kept]
    for split in splits:
        if not labels[split]:
            raise empty(settings, split)
        save_npz(folder / f"{split}.npz", vstack(parts[split], format="csr"))
        np.save(folder / f"{split}.labels.npy", np.asarray(labels[split], np.int64))
    notes = [note for found in problems.values() for note in found.notes()]
    return {"labels": names if len(names) > 1 else [], "notes": survey.notes() + notes}


def _pairs(found: Sequence[Row], path: Path, size: int) -> csr_array:
    """Rows of ``id:count``, ids from 1, as sparse counts, [N, V]."""
    from scipy.sparse import csr_array

    pairs = [[pair.split(":") for pair in row.text.split()] for row in found]
    places = np.array([int(place) - 1 for row in pairs for place, _ in row], np.int64)
    if len(places) and not 0 <= places.min() <= places.max() < size:
        wrong = places.min() if places.min() < 0 else places.max()
        raise DataError(
            f"{path}: holds word {int(wrong) + 1} (from 1), but the vocabulary has {size:,}\n"
            "try  another data.counts.words"
        )
    values = np.array([int(value) for row in pairs for _, value in row], np.int64)
    ends = np.cumsum([0, *map(len, pairs)])
    return csr_array((values, places, ends), shape=(len(pairs), size))
