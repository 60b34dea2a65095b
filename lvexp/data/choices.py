"""Settings of a corpus that cannot be used, whatever its files hold. Needs only the standard library."""

from __future__ import annotations

import codecs
import difflib
import re
from collections.abc import Mapping
from typing import Any

from lvexp.data.gathered import LABEL, TEXT
from lvexp.data.layout import FORMATS
from lvexp.data.settings import JUDGE, SPLITS, UNLABELLED, DataSettings
from lvexp.errors import ConfigError, DataError

KINDS = ("words", "characters", "bpe", "wordpunct")
LONG = ("drop", "truncate", "error")
VIEWS = ("tokens", "counts")


def check(settings: DataSettings) -> None:
    """Raises :class:`ConfigError` or :class:`DataError` for the first setting that has no meaning."""
    vocabulary = settings.vocabulary
    _one_of("data.format", settings.format, ("auto", *FORMATS))
    _encoding(settings.encoding)
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
        _judge(f"data.files.judge={judge}", settings)
    _tags(settings)
    _classes(settings)
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


def _encoding(encoding: Any) -> None:
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


def _tags(settings: DataSettings) -> None:
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


def _classes(settings: DataSettings) -> None:
    """Rejects other columns than those of files that hold a class each."""
    for split, named in settings.place.files.items():
        if isinstance(named, Mapping) and (settings.columns.text, settings.columns.label) != (TEXT, LABEL):
            typed = f"data.files.{split}={{{','.join(f'{name}: {file}' for name, file in named.items())}}}"
            raise ConfigError(
                f"{typed}: a file for each class is read as the columns {TEXT} and {LABEL}\n"
                f"try  data=text data.columns.label={LABEL}"
            )


def _judge(typed: str, settings: DataSettings) -> None:
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
