"""Reads a corpus twice: first for its vocabulary and labels, then to write the ids."""

from __future__ import annotations

import collections
import gc
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from lvexp.data import tags
from lvexp.data.allotted import NO_FAULTS, REPEATED, Repeats, allotted, chunks, repeats
from lvexp.data.classes import Classes
from lvexp.data.features import Features
from lvexp.data.known import Known, splits_of
from lvexp.data.problems import Problems
from lvexp.data.rows import Row
from lvexp.data.settings import DataSettings
from lvexp.data.source import JUDGE, files, parallel, splits, unusable
from lvexp.data.special import EOS
from lvexp.data.storage import SplitWriter, token_type
from lvexp.data.vocabulary import Vocabulary
from lvexp.errors import DataError


@contextmanager
def _no_collection() -> Iterator[None]:
    """Disables the garbage collector: millions of short lists would trigger it again and again and add half as much
    time, and none of them is part of a cycle."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_no_collection()
def encode(settings: DataSettings, folder: Path, known: Known | None = None) -> dict[str, Any]:
    """Writes the vocabulary and the ids of all splits into ``folder``; memory does not grow with the corpus, except for
    the texts of judge and unlabelled ones. What is ``known`` of a finished run is not taken from the texts.

    Returns:
        ``splits`` (a summary of each), ``labels`` (names, sorted), ``attributes`` (the same for each further column)
        and ``notes`` (what was skipped or changed).

    Raises:
        DataError: less than half of a file is usable, a split is empty, no label is found, or a text is longer than
            ``max_length`` with ``long=error``.
    """
    read = splits_of(settings.place, known)
    repeated = repeats(settings, read)
    survey = Survey(settings, repeated, known)
    words = settings.vocabulary
    if known is None:
        vocabulary = Vocabulary.train(
            survey.texts(), words.kind, words.max_size, words.min_count, bool(settings.lowercase), **words.unknown
        )
    else:
        assert isinstance(known.vocabulary, Vocabulary), "the checks compare the views"
        vocabulary = known.vocabulary
        collections.deque(survey.texts(), maxlen=0)  # for its labels and notes
    (folder / "vocabulary.json").write_text(vocabulary.to_json(), encoding="utf-8")
    own: Vocabulary | Features = vocabulary
    if settings.vectors:
        own = Features.of({split: path for split, path in parallel(settings.place).items() if split in read})
        if known is not None:
            _same_shape(own, known)
    elif settings.sourced and not settings.joint and known is not None:
        assert isinstance(known.sources, Vocabulary), "the checks compare data.vocabulary.joint"
        own = known.sources
    elif not settings.joint:
        own = Vocabulary.train(
            survey.sources(), words.kind, words.max_size, words.min_count, bool(settings.lowercase), **words.unknown
        )
    if own is not vocabulary:
        (folder / "sources.json").write_text(own.to_json(), encoding="utf-8")
    labels = survey.names(f"label={settings.columns.label}", survey.classes.labels, known and known.labels)
    ids = {label: number for number, label in enumerate(labels)}
    further = {} if known is None else known.attributes
    attributes = {
        name: survey.names(f"attributes=[{name}]", found, further.get(name))
        for name, found in survey.classes.attributes.items()
    }
    if settings.columns.tags is None:
        places = [{name: number for number, name in enumerate(names)} for names in attributes.values()]
        notes = survey.notes()

        def classes(row: Row) -> list[int]:
            return [at.get(name or "", -1) for at, name in zip(places, row.attributes, strict=True)]

    else:
        attributes = {name: list(names) for name, names in further.items()} or tags.names(survey.classes.tags)
        notes = survey.notes(attributes)

        def classes(row: Row) -> list[int]:
            return tags.numbers(row.tags, attributes)

    long = _Long(settings)
    sourced, grouped = settings.sourced, settings.columns.group is not None
    vectors = own if isinstance(own, Features) else None
    named, sources_of = files(settings.place), parallel(settings.place)
    beside = {named[split]: path for split, path in sources_of.items()}
    options: dict[str, Any] = {"labelled": bool(labels), "grouped": grouped, "vectors": vectors and vectors.shape}
    options |= {"sourced": sourced and not vectors, "attributes": len(attributes)}
    kind = token_type(vocabulary.size if isinstance(own, Features) else max(vocabulary.size, own.size))
    with ExitStack() as stack:
        writers = {split: stack.enter_context(SplitWriter(folder, split, kind, **options)) for split in read}
        for path, chunk in chunks(settings, repeated, read):
            for split in writers:
                mine = [row for to, row in chunk if to == split]
                texts = vocabulary.encode([row.text for row in mine])
                sources: list[list[int]] = [[]] * len(mine)
                if isinstance(own, Vocabulary) and sourced:
                    sources = own.encode([row.source or "" for row in mine])
                kept = long.fit(path, mine, texts, sources)
                writers[split].add(
                    [text for _, text, _ in kept],
                    [ids.get(row.label or "", -1) for row, _, _ in kept],
                    [source for _, _, source in kept],
                    [row.group or "" for row, _, _ in kept],
                    vectors and vectors.rows(beside[path], [row.line for row, _, _ in kept]),
                    [classes(row) for row, _, _ in kept],
                )
    for split, writer in writers.items():
        if not writer.rows:
            raise empty(settings, split)
    found = {split: writer.finish() for split, writer in writers.items()}
    unknown = {split: summary["oov"] for split, summary in found.items() if known is not None and summary["oov"]}
    strange = [f"{split}: {share:.1%} of the words are not in the run's vocabulary" for split, share in unknown.items()]
    notes += long.notes() + strange
    return {"splits": found, "labels": labels, "attributes": attributes, "notes": notes}


class Survey:
    """The first pass: reads every file, counts what cannot be used, and yields the texts of train, or of the splits
    that ``vocabulary.splits`` names, with their sources if they share the vocabulary. A source that consecutive rows
    share is yielded once.

    Args:
        repeated: texts of judge and unlabelled ones that stand elsewhere. known: of a finished run.
    """

    def __init__(self, settings: DataSettings, repeated: Repeats | None = None, known: Known | None = None) -> None:
        self.classes = Classes(settings.columns)
        self._repeated = repeated or {}
        self._other_tags: Counter[tuple[str, str]] = Counter()  # file and tag, of valid and test
        self._settings, self._known = settings, known
        self._problems: list[Problems] = []
        self._read = settings.vocabulary.splits or ("train",)

    def texts(self) -> Iterator[str]:
        judged, read = Classes(self._settings.columns), splits_of(self._settings.place, self._known)
        for _, path, found in allotted(self._settings, self._repeated, read):
            problems = Problems(path)
            self._problems.append(problems)
            usable, source = 0, None
            for split, row in found(problems):
                usable += 1
                if row.tags is not None and split != "train":  # only what can be learnt is a class
                    self._other_tags.update((path.name, tags.write({key: row.tags[key]})) for key in row.tags)
                    row = row._replace(tags=None)
                (judged if split == JUDGE else self.classes).add(row, path)
                if split in self._read:
                    yield row.text
                    if self._settings.joint and row.source is not None and row.source != source:
                        yield row.source
                    source = row.source
            bad = sum(count for kind, count in problems.counts.items() if kind not in NO_FAULTS)
            if not usable and problems.counts.get(REPEATED):
                raise DataError(
                    f"data.files.judge={path}: every text of it stands in train too, and a judge must not know them\n"
                    "try  data.files.judge=FILE with other texts"
                )
            if bad > usable or not usable:
                raise unusable(problems)
        self.classes.check()
        if JUDGE in read:
            self.classes.check_judge(judged, files(self._settings.place)[JUDGE])

    def sources(self) -> Iterator[str]:
        """The sources of the same texts, for a vocabulary of their own."""
        last = None
        for _, chunk in chunks(self._settings):
            for split, row in chunk:
                if split in self._read:
                    if row.source is not None and row.source != last:
                        yield row.source
                    last = row.source

    def names(self, typed: str, found: AbstractSet[str], known: Sequence[str] | None) -> list[str]:
        """The names of the classes of a column (as it is ``typed``): those found, sorted, unless they are known.

        Raises:
            DataError: a text has a class that is not known.
        """
        if known is None or not found:
            return sorted(found)
        run = "" if self._known is None else self._known.run
        if strange := sorted(found - {*known}):
            raise DataError(
                f"data.columns.{typed}: {strange[0]!r} is no label of {run}, "
                f"which has {textwrap.shorten(', '.join(known), 60, placeholder=' …') or 'none'}\n"
                "try  texts with these labels | data.columns.label=null"
            )
        return list(known)

    def notes(self, known: Mapping[str, Sequence[str]] | None = None) -> list[str]:
        """What was skipped; of tags, those that are not ``known``."""
        found = [note for problems in self._problems for note in problems.notes()]
        for (file, tag), count in self._other_tags.items() if known is not None else ():
            if tags.strange(tags.parse(tag), known or {}):
                found.append(f"{file}: {count:,} texts have the tag {tag}, which no training text has: left out")
        return found


class _Long:
    """Treatment of texts, or sources, with more than ``max_length`` tokens."""

    def __init__(self, settings: DataSettings) -> None:
        self._most, self._rule = settings.max_length, settings.long
        self._problems: dict[Path, Problems] = {}

    def fit(
        self, path: Path, found: list[Row], texts: list[list[int]], sources: list[list[int]]
    ) -> list[tuple[Row, list[int], list[int]]]:
        """The rows of ``path`` that are kept, with their ids."""
        kept = []
        for row, text, source in zip(found, texts, sources, strict=True):
            length = max(len(text), len(source)) - 2
            if length > self._most:
                if self._rule == "error":
                    raise DataError(
                        f"{path}:{row.line}: {length} tokens, more than data.max_length={self._most}\n"
                        "try  a larger data.max_length, or data.long=drop|truncate"
                    )
                done = "skipped" if self._rule == "drop" else "cut"
                problems = self._problems.setdefault(path, Problems(path))
                problems.add(f"texts of more than {self._most} tokens: {done}", row.line)
                if self._rule == "drop":
                    continue
                text, source = (
                    [*ids[: self._most + 1], EOS] if len(ids) - 2 > self._most else ids for ids in (text, source)
                )
            kept.append((row, text, source))
        return kept

    def notes(self) -> list[str]:
        return [note for problems in self._problems.values() for note in problems.notes()]


def _same_shape(own: Features, known: Known) -> None:
    """Rejects feature vectors of another shape than those of a finished run."""
    was = known.sources.shape if isinstance(known.sources, Features) else None
    if was != own.shape:
        read = "texts" if was is None else f"{was[0]} × {was[1]} values"
        raise DataError(
            f"data.sources: hold {own.shape[0]} × {own.shape[1]} values for each text, and {known.run} reads {read}\n"
            "try  sources of the same kind"
        )


def empty(settings: DataSettings, split: str) -> DataError:
    """The error for a split without texts."""
    named = files(settings.place)
    cut = [other for other in splits(settings.place) if other not in named]
    if cut and split in ("train", *cut):
        return DataError(
            f"{named['train']}: is too small: cutting {' and '.join(cut)} from it left nothing in {split}\n"
            f"try  data.files.{cut[0]}=FILE, or another data.split.{cut[0]}"
        )
    return DataError(
        f"{named[split]}: every text has more than data.max_length={settings.max_length} tokens\n"
        "try  a larger data.max_length, or data.long=truncate"
    )
