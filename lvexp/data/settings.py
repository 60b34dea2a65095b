"""The settings of a corpus: the ``data`` group of a configuration, read where it enters.

``of`` reads a plain configuration and refuses no single value: each is held as it was given, whatever its type, and a
missing key without a default is None. :func:`lvexp.data.source.check` then refuses what cannot be used. Other keys of
the group are for the data module alone, or for a class of the user's own. Needs only the standard library.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from lvexp.errors import ConfigError

SPLITS = ("train", "valid", "test")
UNLABELLED = "unlabelled"  # a file of more texts for train, without sources and classes
JUDGE = "judge"  # a split of its own, with a file: labelled texts for the classifiers of a report
PATTERN = r"(?u)\b\w\w+\b"
#: settings that change an encoded corpus, and those that also change a counted one
ENCODED = ("format", "header", "columns", "split", "lowercase", "vocabulary", "max_length", "long", "answered")
COUNTED = (*ENCODED, "view", "counts")
#: settings of a vocabulary that are not used if it is that of a finished run, whose content then counts
OF_A_RUN = ("run", "max_size", "min_count", "splits")
#: columns that a configuration may name as none, or not name, which is the same
LATER = ("source", "group", "attributes", "tags")
#: the encoding that is not part of a corpus's identity, which is what it was before there was the key
UTF8 = "utf-8"
_Made = TypeVar("_Made")


def _held(kind: type[_Made], given: Mapping[str, Any]) -> _Made:
    """The settings of one kind that are given, made without its constructor: what the values are is not known yet."""
    known: Any = kind
    made = object.__new__(kind)
    for field in dataclasses.fields(known):
        default = None if field.default is dataclasses.MISSING else field.default
        object.__setattr__(made, field.name, given.get(field.name, default))
    return made


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Settings that are a mapping in the configuration.

    Attributes:
        written: the keys and values as they were given. The name of a cache entry depends on them, and a key that is
            null is not the same as a missing one there.
    """

    written: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls: type[_Made], given: Mapping[str, Any] | None) -> _Made:
        """The settings in ``given``; None has none of them."""
        pairs = tuple((given or {}).items())
        return _held(cls, {**dict(pairs), "written": pairs})

    def given(self) -> dict[str, Any]:
        """The values that the name of a cache entry depends on."""
        return dict(self.written)

    @property
    def unknown(self) -> dict[str, Any]:
        """What was given under other keys."""
        names = {field.name for field in dataclasses.fields(self)}
        return {key: value for key, value in self.written if key not in names}


@dataclass(frozen=True, kw_only=True)
class Columns(_Group):
    """The columns of a file, by name or by number from 0.

    Attributes:
        text: the text.
        label: its class. None: the texts have none.
        split: the split that a row belongs to.
        source: the text that it answers.
        group: the name of its group of rows.
        attributes: further classes of the text, each in a column of its own, beside ``label``. None: there are none.
        tags: its structured tags, such as ``pos=N,case=DAT``. None: it has none.
    """

    text: str | int = 0
    label: str | int | None = None
    split: str | int | None = None
    source: str | int | None = None
    group: str | int | None = None
    attributes: Sequence[str | int] | None = None
    tags: str | int | None = None

    def given(self) -> dict[str, Any]:
        """As for any group; without :data:`LATER` columns if there are none, as before there were these keys."""
        return {key: value for key, value in super().given().items() if key not in LATER or value not in (None, [])}


@dataclass(frozen=True, kw_only=True)
class SplitSettings(_Group):
    """The shares that are cut from train for a split without a file, and the seed that selects them."""

    valid: float
    test: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class VocabularySettings(_Group):
    """The vocabulary.

    Attributes:
        kind: ``words``, ``wordpunct``, ``characters`` or ``bpe``.
        max_size: the largest number of entries.
        min_count: rarer entries are not in it.
        splits: whose texts it is made of. None: those of train.
        joint: whether texts and sources share one vocabulary; otherwise the sources have their own, with the same
            settings. Sources that are feature vectors have none.
        run: folder of a finished run, whose vocabulary is used. None: one is made of these texts.
    """

    kind: str
    max_size: int
    min_count: int
    splits: Sequence[str] | None = None
    joint: bool = True
    run: str | None = None

    def given(self) -> dict[str, Any]:
        """As for any group, without ``run`` if it is null: the entry is what it was before there was the key."""
        unread = OF_A_RUN if self.run else ("run",)
        return {key: value for key, value in self.written if key not in unread}


@dataclass(frozen=True, kw_only=True)
class CountSettings(_Group):
    """What is counted with ``view=counts``, in the sense of scikit-learn's ``CountVectorizer``.

    Attributes:
        min_df: smallest number of documents that contain a word, or their share. max_df: the largest.
        stop_words: ``english``, or a list of words that are not counted.
        pattern: regular expression that matches a word.
        words: file of the words to count. None: they are taken from the texts.
    """

    min_df: int | float = 0.0
    max_df: int | float = 1.0
    stop_words: str | Sequence[str] | None = None
    pattern: str = PATTERN
    words: str | None = None

    def given(self) -> dict[str, Any]:
        """As for any group, with the defaults of keys that are missing."""
        names = (field.name for field in dataclasses.fields(self) if field.name != "written")
        return {**{name: getattr(self, name) for name in names}, **super().given()}


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the files of a corpus are.

    Attributes:
        name: of the corpus.
        files: split → file, a list of files, or class → file; None where it has none. ``judge`` is a split for the
            classifiers of a report alone, ``unlabelled`` has more texts to train on, without sources and classes.
        root: folder of the files, if it was given.
        folder: name of their folder in ``LVEXP_DATA``. None: the corpus's name.
        words: file of the words to count, with ``view=counts``.
        sources: split → file whose lines, or in a ``.npy`` file whose rows, are the sources of the lines of its texts;
            None where it has none.
        rule: that makes the corpus, which has no files then.
        hf: a data set that takes the place of files, see :mod:`lvexp.data.hub`; empty for none.
        cache: folder for what is gathered from several files. encoding: of the files.
    """

    name: str
    files: Mapping[str, Any]
    root: str | None = None
    folder: str | None = None
    words: str | None = None
    sources: Mapping[str, str | None] = dataclasses.field(default_factory=dict)
    rule: str | None = None
    hf: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    cache: str | None = None
    encoding: str = UTF8

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Place:
        """The place in the ``data`` group of a plain configuration. Nothing else of the group is read."""
        counts = data.get("counts") if data.get("view") == "counts" else None
        made = {
            "name": data["name"],
            **{key: dict((data.get(key) or {}).items()) for key in ("files", "sources", "hf")},
        }
        return _held(cls, {**data, **made, "words": CountSettings.of(counts).words})


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """The settings of a corpus. The keys are explained in ``conf/data/*.yaml``.

    Attributes:
        provides: what the batches are declared to have, if the columns do not decide it.
        encoding: of the files, a name that Python knows.
        transductive: whether unlabelled texts that are texts of valid or test are kept.
    """

    place: Place
    columns: Columns
    split: SplitSettings
    vocabulary: VocabularySettings
    counts: CountSettings
    format: str = "auto"
    encoding: str = UTF8
    header: bool | None = None
    lowercase: bool = False
    max_length: int
    long: str
    answered: str | int | float | None = None
    batch_size: int
    eval_batch_size: int
    labelled: int | float = 1.0
    transductive: bool = False
    view: str = "tokens"
    cache: str | None = None
    provides: Sequence[str] | None = None

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> DataSettings:
        """The settings in the ``data`` group of a plain configuration.

        Raises:
            ConfigError: a key that must hold a mapping holds something else.
        """
        for key in ("files", "sources", "hf", "columns", "split", "vocabulary", "counts"):
            if (given := data.get(key)) and not isinstance(given, Mapping):
                raise ConfigError(f"data.{key}={given}: must be a mapping\ntry  leave out data.{key}")
        groups = {
            "place": Place.of(data),
            "columns": Columns.of(data.get("columns")),
            "split": SplitSettings.of(data.get("split")),
            "vocabulary": VocabularySettings.of(data.get("vocabulary")),
            "counts": CountSettings.of(data.get("counts")),
        }
        return _held(cls, {**data, **groups})

    @property
    def sourced(self) -> bool:
        """Whether each text has a source."""
        return self.columns.source is not None or any(self.place.sources.values())

    @property
    def vectors(self) -> bool:
        """Whether the sources are feature vectors."""
        return any(str(file).endswith(".npy") for file in self.place.sources.values() if file)

    @property
    def joint(self) -> bool:
        """Whether one vocabulary serves texts and sources, if there are sources."""
        return self.vocabulary.joint is not False and not self.vectors

    @property
    def counted(self) -> bool:
        """Whether the batches are bags of words."""
        return self.view == "counts"

    def entry(self) -> dict[str, Any]:
        """The settings that the name of a cache entry depends on, as they were given, without those that are null."""
        found: dict[str, Any] = {"name": self.place.name}
        for key in COUNTED if self.counted else ENCODED:
            value = getattr(self, key)
            found[key] = value.given() if isinstance(value, _Group) else value
        if self.transductive:
            found["transductive"] = True
        if self.encoding != UTF8:
            found["encoding"] = self.encoding
        return {key: value for key, value in found.items() if value is not None}

    def compared(self) -> dict[str, Any]:
        """What decides which texts there are and how they are cut into tokens, under dotted names and with defaults, as
        the versions of lvexp may write different keys. Likelihoods can be compared only where all of it agrees."""
        found: dict[str, Any] = {}
        for key in COUNTED if self.counted else ENCODED:
            value = getattr(self, key)
            if isinstance(value, _Group):
                names = {field.name for field in dataclasses.fields(value)} - {"written", "words", "attributes", "tags"}
                inner = {name: getattr(value, name) for name in names} | value.unknown
                if isinstance(value, VocabularySettings) and value.run:
                    inner = {name: kept for name, kept in inner.items() if name == "run" or name not in OF_A_RUN}
                found |= {f"{key}.{name}": inner[name] for name in sorted(inner)}
            else:
                found[key] = value
        return {key: value for key, value in found.items() if value is not None}
