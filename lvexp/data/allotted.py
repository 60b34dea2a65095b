"""Which rows of the files of a corpus are read, and which split each belongs to."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

from lvexp.data.layout import Layout
from lvexp.data.problems import Problems
from lvexp.data.rows import Row, rows
from lvexp.data.settings import DataSettings
from lvexp.data.source import JUDGE, UNLABELLED, belongs, files, parallel
from lvexp.errors import DataError

CHUNK = 4096  # texts encoded at a time
#: accepted values in a column of splits
NAMES = {"train": "train", "valid": "valid", "val": "valid", "dev": "valid", "validation": "valid", "test": "test"}
UNANSWERED = "rows of groups without a right answer: left out (data.answered)"
REPEATED = "texts that stand in train too: left out"
HELD_OUT = "texts that stand in valid or test too: left out"
TRANSDUCTIVE = "texts that stand in valid or test too: kept, without their classes (data.transductive)"
NO_FAULTS = ("blank lines", UNANSWERED, REPEATED, HELD_OUT, TRANSDUCTIVE)
#: file → its texts that stand where they must not
Repeats = Mapping[str, AbstractSet[str]]
#: reads the rows of a file, each with its split, and counts what cannot be used
Read = Callable[[Problems], Iterator[tuple[str, Row]]]


def allotted(
    settings: DataSettings, repeated: Repeats | None = None, read: Sequence[str] | None = None
) -> Iterator[tuple[str, Path, Read]]:
    """Each file of the splits in ``read`` (all, if it is None), by its key, with a function that reads its rows and the
    split of each row. Rows whose text is in ``repeated`` are left out."""
    named, sources = files(settings.place), parallel(settings.place)
    shares = {split: getattr(settings.split, split) for split in ("valid", "test") if split not in named}
    answered = settings.answered
    for split, path in named.items():
        if read is not None and belongs(split) not in read:
            continue

        def found(problems: Problems, split: str = split, path: Path = path) -> Iterator[tuple[str, Row]]:
            alike = str.lower if settings.lowercase else str
            elsewhere = (repeated or {}).get(split, ())
            if split == UNLABELLED:
                for row in rows(path, Layout.of_texts(path, settings), problems):
                    if twice := alike(row.text) in elsewhere:
                        problems.add(TRANSDUCTIVE if settings.transductive else HELD_OUT, row.line)
                    if settings.transductive or not twice:
                        nothing = (None,) * len(settings.columns.attributes or ())
                        yield "train", row._replace(source=row.text if settings.sourced else None, attributes=nothing)
                return
            every = rows(path, Layout.of(path, settings), problems, sources.get(split))
            for row in every if answered is None else _answered(every, str(answered), problems):
                if split == JUDGE:
                    if alike(row.text) in elsewhere:
                        problems.add(REPEATED, row.line)
                    else:
                        yield split, row
                elif row.split is not None:
                    yield _named(row, path), row
                elif split == "train" and shares:  # rows of a group stay together
                    yield _cut(row.group or row.text, shares, int(settings.split.seed)), row
                else:
                    yield split, row

        yield split, path, found


def repeats(settings: DataSettings, read: Sequence[str]) -> Repeats:
    """The texts of judge that stand in train too, and the unlabelled ones that stand in valid or test, lower-cased if
    all texts are."""
    alike = str.lower if settings.lowercase else str
    found: dict[str, AbstractSet[str]] = {}
    for file, elsewhere in ((JUDGE, ("train",)), (UNLABELLED, ("valid", "test"))):
        if not settings.place.files.get(file) or belongs(file) not in read:
            continue
        others = {name: (path, rows_of) for name, path, rows_of in allotted(settings)}
        path, rows_of = others.pop(file)
        mine = {alike(row.text) for _, row in rows_of(Problems(path))}
        theirs = (row for path, rows_of in others.values() for to, row in rows_of(Problems(path)) if to in elsewhere)
        found[file] = mine.intersection(alike(row.text) for row in theirs)
    return found


def _named(row: Row, path: Path) -> str:
    """The split named in the row itself."""
    if row.split not in NAMES:
        raise DataError(
            f"{path}:{row.line}: '{row.split}' is not a split, but is in the column of splits\n"
            f"try  one of {', '.join(NAMES)} there, or data.columns.split=null"
        )
    return NAMES[row.split]


def _answered(found: Iterator[Row], label: str, problems: Problems) -> Iterator[Row]:
    """The groups in which at least one row has this label."""
    for _, rows_of_group in itertools.groupby(found, lambda row: row.group):
        group = list(rows_of_group)
        if any(row.label == label for row in group):
            yield from group
        else:
            for row in group:
                problems.add(UNANSWERED, row.line)


def _cut(text: str, shares: Mapping[str, float], seed: int) -> str:
    """The split of a text of train if other splits are cut from train.

    It depends on the text alone, so equal texts get the same split: no text is in both training and test data.
    """
    digest = hashlib.blake2b(text.encode(), digest_size=8, key=str(seed).encode()).digest()
    draw = int.from_bytes(digest, "little") / 2**64
    for split, share in shares.items():
        if draw < share:
            return split
        draw -= share
    return "train"


def chunks(
    settings: DataSettings, repeated: Repeats | None = None, read: Sequence[str] | None = None
) -> Iterator[tuple[Path, list[tuple[str, Row]]]]:
    """All rows of the splits in ``read`` (all, if it is None), except for those whose text is in ``repeated``,
    each with its split, in chunks of one file; problems are not counted again."""
    for _, path, found in allotted(settings, repeated, read):
        chunk: list[tuple[str, Row]] = []
        for item in found(Problems(path)):  # already counted by the survey
            chunk.append(item)
            if len(chunk) == CHUNK:
                yield path, chunk
                chunk = []
        yield path, chunk
