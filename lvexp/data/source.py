"""Where the files of a corpus are, whether they can be used, and what identifies their content.

Needs only the standard library, so that a missing corpus is reported before any large import.
"""

from __future__ import annotations

import codecs
import collections
import difflib
import hashlib
import itertools
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lvexp.data import gathered, hub
from lvexp.data.gathered import LABEL, TEXT
from lvexp.data.layout import FORMATS, Layout
from lvexp.data.problems import INVALID, Problems
from lvexp.data.rows import rows
from lvexp.data.settings import DataSettings, Place
from lvexp.errors import ConfigError, DataError

SPLITS = ("train", "valid", "test")
UNLABELLED = "unlabelled"  # a file of more texts for train, without sources and classes
JUDGE = "judge"  # a split of its own, with a file: labelled texts for the classifiers of a report
KINDS = ("words", "characters", "bpe", "wordpunct")
LONG = ("drop", "truncate", "error")
VIEWS = ("tokens", "counts")
LOOKED_AT = 100  # lines that `check` reads of each file
MADE = ("sst", "yelp")  # corpora that a script makes of others
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
    _check_settings(settings)
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
        return (
            f"try  python scripts/attributes DIR, which makes this corpus, and data.root=DIR/{name}\n"
            f"or   LVEXP_DATA=DIR in the environment, where DIR/{place.folder or name}/ holds {' '.join(named)}"
        )
    licence = "The Penn Treebank may not be given away with this package; get a copy of your own.\n"
    return (
        f"{licence if name == 'ptb' else ''}try  data.root=DIR, the folder that holds {' '.join(named)}\n"
        f"or   LVEXP_DATA=DIR in the environment, where DIR/{place.folder or name}/ holds them"
    )


def _check_settings(settings: DataSettings) -> None:
    vocabulary = settings.vocabulary
    _one_of("data.format", settings.format, ("auto", *FORMATS))
    _check_encoding(settings.encoding)
    _one_of("data.view", settings.view or "tokens", VIEWS)
    _one_of("data.vocabulary.kind", vocabulary.kind, KINDS)
    _one_of("data.long", settings.long, LONG)
    # The smallest useful size: four special tokens and a word, or for BPE the special tokens and all bytes.
    _at_least("data.vocabulary.max_size", vocabulary.max_size, 260 if vocabulary.kind == "bpe" else 5)
    _at_least("data.vocabulary.min_count", vocabulary.min_count, 1)
    if vocabulary.joint is False and not settings.sourced:
        raise ConfigError(
            "data.vocabulary.joint=false: these texts have no sources that could have a vocabulary of their own\n"
            "try  leave out data.vocabulary.joint | data.sources.train=FILE"
        )
    for split in vocabulary.splits or ():
        _one_of("data.vocabulary.splits", split, SPLITS)
    if (attributes := settings.columns.attributes) and not isinstance(attributes, list | tuple):
        raise ConfigError(
            f"data.columns.attributes={attributes}: must be a list of columns\n"
            f"try  data.columns.attributes=[{attributes}]"
        )
    if judge := settings.place.files.get(JUDGE):
        _check_judge(f"data.files.judge={judge}", settings)
    _check_tags(settings)
    _check_classes(settings)
    if attributes and settings.counted:
        typed = f"data.columns.attributes=[{','.join(map(str, attributes))}]"
        raise ConfigError(
            f"{typed} data.view=counts: bags of words have one class\ntry  leave out data.columns.attributes"
        )
    if settings.answered is not None and None in (settings.columns.label, settings.columns.group):
        raise ConfigError(
            f"data.answered={settings.answered}: keeps groups of rows by their labels, and one of the two columns is "
            "not named\ntry  data.columns.label=NAME data.columns.group=NAME, or data.answered=null"
        )
    if not re.fullmatch(r"\w[\w.-]*", str(settings.place.name)):
        raise ConfigError(f"data.name={settings.place.name}: names a folder of the cache\ntry  letters and digits only")
    pattern = str(settings.counts.pattern or "")
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ConfigError(
            f"data.counts.pattern={pattern}: is no regular expression: {error}\n"
            r"try  data.counts.pattern='\w+'"
        ) from error
    if groups > 1:
        raise ConfigError(
            f"data.counts.pattern={pattern}: has {groups} groups, and a word can be only one of them\n"
            "try  (?:…) for all groups, or all but one"
        )
    for key in ("max_length", "batch_size", "eval_batch_size"):
        _at_least(f"data.{key}", getattr(settings, key), 1)
    labelled = settings.labelled
    if isinstance(labelled, float) and labelled > 1:
        raise ConfigError(
            f"data.labelled={labelled}: a share of the labels is at most 1.0\n"
            f"try  data.labelled={round(labelled)}, so many labels"
        )
    shares = {key: getattr(settings.split, key) for key in ("valid", "test") if not settings.place.files.get(key)}
    for key, share in shares.items():
        if not isinstance(share, float) or not 0 < share < 1:
            raise ConfigError(
                f"data.split.{key}={share}: it is the share of train to cut for {key}, between 0 and 1\n"
                f"try  data.split.{key}=0.05, or data.files.{key}=FILE"
            )
    if sum(float(share or 0) for share in shares.values()) >= 1:
        raise ConfigError("data.split: valid and test together leave nothing to train on\ntry  smaller shares")


def _check_encoding(encoding: Any) -> None:
    """Rejects an encoding that is not known, or in which the end of a line is not one byte."""
    try:
        plain = codecs.encode("\n", str(encoding)) == b"\n"
    except (LookupError, TypeError, ValueError):
        plain = None
    if plain is None:
        near = difflib.get_close_matches(str(encoding), ("latin-1", "cp1252", "utf-8", "shift_jis", "gb18030"), 1, 0)
        raise ConfigError(f"data.encoding={encoding}: there is no such encoding\ntry  data.encoding={near[0]}")
    if not plain:
        raise ConfigError(
            f"data.encoding={encoding}: files are read line by line, as bytes, which it does not allow\n"
            f"try  iconv -f {encoding} -t utf-8 FILE > NEW, and data.encoding=utf-8"
        )


def _check_tags(settings: DataSettings) -> None:
    """Rejects tags beside other classes, and unlabelled texts where they have no meaning."""
    columns, typed = settings.columns, f"data.columns.tags={settings.columns.tags}"
    if columns.tags is not None:
        if settings.counted:
            raise ConfigError(f"{typed} data.view=counts: bags of words have no tags\ntry  data.columns.tags=null")
        for name in ("label", "attributes", "text", "source"):
            other = getattr(columns, name)
            if name in ("label", "attributes") and other not in (None, []):
                why = "tags are all the classes that a text has"
            elif other == columns.tags:
                why = "are the same column"
            else:
                continue
            raise ConfigError(f"data.columns.{name}={other} {typed}: {why}\ntry  data.columns.{name}=… | leave out one")
    if (file := settings.place.files.get(UNLABELLED)) is None:
        if settings.transductive:
            raise ConfigError(
                "data.transductive=true: there are no unlabelled texts, of which some might be test texts\n"
                "try  data.files.unlabelled=FILE | data.transductive=false"
            )
    elif settings.counted or settings.vectors or settings.columns.group is not None:
        raise ConfigError(
            f"data.files.unlabelled={file}: is for texts of their own, without groups, counts or feature vectors\n"
            "try  leave out data.files.unlabelled"
        )


def _check_classes(settings: DataSettings) -> None:
    """Rejects other columns than those of files that hold a class each."""
    for split, named in settings.place.files.items():
        if isinstance(named, Mapping) and (settings.columns.text, settings.columns.label) != (TEXT, LABEL):
            typed = f"data.files.{split}={{{','.join(f'{name}: {file}' for name, file in named.items())}}}"
            raise ConfigError(
                f"{typed}: a file for each class is read as the columns {TEXT} and {LABEL}\n"
                f"try  data=text data.columns.label={LABEL}"
            )


def _check_judge(typed: str, settings: DataSettings) -> None:
    """Rejects a file of judge, as it was ``typed``, where nothing could be learnt from it."""
    if settings.counted:
        raise ConfigError(
            f"{typed} data.view=counts: its classifier reads texts, not counts\ntry  data.files.judge=null"
        )
    if settings.columns.label is None and not settings.columns.attributes:
        raise DataError(
            f"{typed}: a classifier learns from its labels, and data.columns.label=null\n"
            "try  data.columns.label=NAME, for files with columns | data.files.judge=null"
        )


def _one_of(key: str, value: Any, options: tuple[str, ...]) -> None:
    if value not in options:
        raise ConfigError(f"{key}={value}: there is no such choice\ntry  {key}={'|'.join(options)}")


def _at_least(key: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{key}={value}: it must be a whole number, {least} or more\ntry  {key}={max(least, 32)}")
