"""Where the files of a corpus are, whether they can be used, and what identifies their content.

Needs only the standard library, so that a missing corpus is reported before any large import.
"""

from __future__ import annotations

import collections
import hashlib
import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lvexp.data import choices, gathered, hub
from lvexp.data.layout import Layout
from lvexp.data.problems import INVALID, Problems
from lvexp.data.rows import rows
from lvexp.data.settings import JUDGE, SPLITS, UNLABELLED, DataSettings, Place
from lvexp.errors import ConfigError, DataError

LOOKED_AT = 100  # lines that `check` reads of each file
#: corpora that a script makes of others → the script, and the folder that is data.root then
MADE = {
    "sst": ("attributes", "DIR/sst"),
    "yelp": ("attributes", "DIR/yelp"),
    "compression": ("compression", "DIR"),
}
ABSENT = "absent"


def root(place: Place) -> Path:
    """The folder of the corpus: ``data.root``, otherwise the shipped one, otherwise (``text``) the current directory,
    otherwise the corpus's folder in ``LVEXP_DATA``.

    Raises:
        DataError: neither ``data.root`` nor ``LVEXP_DATA`` gives the place of the corpus.
    """
    name = str(place.folder or place.name)
    if place.root:
        return _path(place.root)
    shipped = Path(__file__).parent / name
    if shipped.is_dir():
        return shipped
    if name in ("text", "hf"):
        return Path.cwd()
    if folder := os.environ.get("LVEXP_DATA"):
        return _path(folder) / name
    raise DataError(f"data={place.name}: neither data.root nor LVEXP_DATA is set\n{_where(place)}")


def files(place: Place) -> dict[str, Path]:
    """The file of each split that has one, then that of judge and that of unlabelled texts, if they have one; other
    splits are cut from train.

    Raises:
        ConfigError: no file is named for train.
        DataError: the folder is not known.
    """
    found = hub.files(place.hf, place.cache) if place.hf else {}
    if not place.files.get("train") and not found:
        raise ConfigError(f"data={place.name}: no file to train on is named\ntry  data.files.train=FILE")
    folder = root(place)
    for split in (*splits(place), UNLABELLED):
        name = place.files.get(split)
        if isinstance(name, list | tuple | Mapping) and name:
            found[split] = gathered.gathered(split, name, folder, place.cache, place.encoding)
        elif name:
            found[split] = folder / _path(name)
    return {split: found[split] for split in (*splits(place), UNLABELLED) if split in found}


def belongs(file: str) -> str:
    """The split that the rows of a file belong to, given its key in ``data.files``."""
    return "train" if file == UNLABELLED else file


def splits(place: Place) -> tuple[str, ...]:
    """The splits of a corpus: train, valid, test and, if it has a file, judge."""
    return (*SPLITS, JUDGE) if place.files.get(JUDGE) else SPLITS


def parallel(place: Place) -> dict[str, Path]:
    """The file with the sources of each split that has one.

    Raises:
        ConfigError: a split has texts and no sources, or the other way round, while others have them.
    """
    if not any(place.sources.values()):
        return {}
    for split in SPLITS:
        text, source = (bool(named.get(split)) for named in (place.files, place.sources))
        if text != source:
            has, lacks = ("files", "sources") if text else ("sources", "files")
            raise ConfigError(
                f"data.{has}.{split} without data.{lacks}.{split}: each file of texts has its file of sources\n"
                f"try  data.{lacks}.{split}=FILE | leave out data.{has}.{split}"
            )
    folder = root(place)
    return {split: folder / _path(name) for split in SPLITS if (name := place.sources.get(split))}


def _path(name: Any) -> Path:
    """``~`` is expanded for known users; otherwise it is an ordinary name."""
    return Path(os.path.expanduser(str(name)))


def word_file(place: Place) -> Path | None:
    """The file of the words to count, if they are not taken from the texts."""
    return root(place) / _path(place.words) if place.words else None


def words(place: Place) -> list[str] | None:
    """The words to count, if they come from a file: the first of each line.

    Raises:
        DataError: the file is missing, is not text, has no words, or has a word twice.
    """
    path = word_file(place)
    if path is None:
        return None
    typed = f"data.counts.words={place.words}"
    if not os.path.isfile(path):
        raise DataError(
            f"{typed}: there is no regular file {path.absolute()}\ntry  data.counts.words=null, to count all words"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{typed}: cannot be read: {error}\ntry  a file in UTF-8") from error
    found = [line.split()[0] for line in text.splitlines() if line.strip()]
    if not found or "\0" in text:
        raise DataError(f"{typed}: has no words\ntry  one word a line, in UTF-8 | data.counts.words=null")
    if twice := [word for word, count in collections.Counter(found).items() if count > 1]:
        raise DataError(f"{typed}: has {twice[0]!r} more than once\ntry  each word on one line only")
    return found


def columns(settings: DataSettings) -> frozenset[str]:
    """Which of ``tokens``, ``labels``, ``source``, ``tags`` and ``counts`` the batches will have; ``source_texts`` if
    the sources are texts, and ``joint`` if these have the vocabulary of the others.

    ``labels`` and ``source`` depend on ``columns.label`` and ``columns.source``, so that switching a column off or on
    is enough; ``counts`` depends on ``view`` and excludes ``tokens``.
    """
    named = {
        "labels": settings.columns.label is not None,
        "source": settings.sourced,
        "source_texts": settings.sourced and not settings.vectors,
        "joint": settings.sourced and settings.joint,
        "tags": settings.columns.tags is not None,
    }
    found = {"counts"} if settings.counted else set(settings.provides or ("tokens",)) - {*named, "counts"}
    return frozenset(found | {what for what, there in named.items() if there})


def fingerprint(place: Place, only: Sequence[str] | None = None) -> str:
    """A hash of the content of the files, or of those of some splits, independent of their names and folders;
    ``absent`` if one is missing, the name of the rule if one makes the corpus."""
    if place.rule:
        return f"rule {place.rule}"
    digest, read = hashlib.blake2b(digest_size=16), splits(place) if only is None else only
    try:
        for split, path in files(place).items():
            if belongs(split) not in read:
                continue
            if not os.path.isfile(path):  # a pipe would be waited for
                return ABSENT
            with open(path, "rb") as file:
                content = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
            digest.update(split.encode() + content.digest())
        for split, path in parallel(place).items():
            if split not in read:
                continue
            if not os.path.isfile(path):
                return ABSENT
            with open(path, "rb") as file:
                content = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
            digest.update(f"source of {split}".encode() + content.digest())
        if (listed := word_file(place)) and os.path.isfile(listed):
            digest.update(listed.read_bytes())
    except (OSError, DataError, ConfigError):
        return ABSENT
    return digest.hexdigest()


def check(settings: DataSettings, only: Sequence[str] | None = None) -> None:
    """Rejects settings that cannot work and files (of some splits) that are missing or malformed in their first lines.

    Raises:
        ConfigError: a setting has no meaning.
        DataError: a file is missing, unreadable, or lacks a column.
    """
    if settings.place.rule:
        return
    choices.check(settings)
    place, sources = settings.place, parallel(settings.place)
    read = splits(place) if only is None else only
    for split, path in sources.items():
        if split not in read:
            continue
        if not os.path.isfile(path):
            typed = f"data={place.name} data.sources.{split}={place.sources[split]}"
            raise DataError(f"{typed}: there is no regular file {path.absolute()}\n{_where(place)}")
    for split, path in files(place).items():
        if belongs(split) not in read:
            continue
        if not os.path.isfile(path):
            kind = " that is a regular one" if os.path.exists(path) else ""
            typed = f"data={place.name} data.files.{split}={place.files.get(split)}"
            raise DataError(f"{typed}: there is no file {path.absolute()}{kind}\n{_where(place)}")
        problems = Problems(path)
        layout = (Layout.of_texts if split == UNLABELLED else Layout.of)(path, settings)
        found = rows(path, layout, problems, sources.get(split))
        usable = sum(1 for _ in itertools.islice(found, LOOKED_AT))
        if not usable:
            raise unusable(problems)
    words(place)


def unusable(problems: Problems) -> DataError:
    """The error for a file of which less than half, or nothing, can be used."""
    found = "\n".join(f"  {note}" for note in problems.notes()) or "  it is empty"
    advice = "data.format=txt|tsv|csv|jsonl and data.columns.text=…, and see that the file is UTF-8"
    if INVALID in problems.counts:
        advice = f"data.encoding=latin-1 | data.encoding=cp1252, or another that the file is in | {advice}"
    return DataError(f"{problems.path}: too little of it is usable text\n{found}\ntry  {advice}")


def _where(place: Place) -> str:
    name, named = str(place.name), [str(file) for file in place.files.values() if file]
    if name == "text":
        return "try  data.files.train=FILE with the path from here, or data.root=DIR"
    if name in MADE:
        script, made = MADE[name]
        return (
            f"try  python scripts/{script} DIR, which makes this corpus, and data.root={made}\n"
            f"or   LVEXP_DATA=DIR in the environment, where DIR/{place.folder or name}/ holds {' '.join(named)}"
        )
    licence = "The Penn Treebank may not be given away with this package; get a copy of your own.\n"
    return (
        f"{licence if name == 'ptb' else ''}try  data.root=DIR, the folder that holds {' '.join(named)}\n"
        f"or   LVEXP_DATA=DIR in the environment, where DIR/{place.folder or name}/ holds them"
    )
