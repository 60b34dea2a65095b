"""Opens a corpus: encodes it once into a cache and maps the result into memory.

The name of a cache entry is a hash of the content of the files and of every setting that changes the result. The entry
is built under a lock in a temporary folder and then renamed, so that a reader sees all of it or nothing, jobs that
start together encode only once, and a killed writer leaves only a folder that the next one removes. On opening, sizes
and checksums are verified; a damaged entry is rebuilt.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lvexp.data import gathered
from lvexp.data.encoding import encode
from lvexp.data.known import Known, splits_of
from lvexp.data.settings import DataSettings
from lvexp.data.source import ABSENT, check, files, fingerprint
from lvexp.data.storage import Split
from lvexp.data.vocabulary import Vocabulary
from lvexp.data.written import vocabulary_from_json
from lvexp.errors import ConfigError, DataError

VERSION = 2  # version of the entry's files; after a change old entries are not used


class Corpus:
    """An encoded corpus.

    Attributes:
        splits: ``train``, ``valid``, ``test`` and, if there is a file for it, ``judge``; or those of them that were
            read.
        vocabulary: maps text to ids and back.
        sources: the same for sources; their feature vectors; None if there is one vocabulary for both.
        labels: names of the classes, sorted; a label is an index into this list.
        attributes: the same for each further column with classes, in the order that they were given.
        fingerprint: hash of the content of the files.
        notes: what was skipped or cut, with line numbers, one sentence each.
        oov: share of the words that are ``<unk>``, per split.
    """

    def __init__(self, folder: Path, summary: Mapping[str, Any]) -> None:
        self.vocabulary = Vocabulary.from_json((folder / "vocabulary.json").read_text(encoding="utf-8"))
        own = folder / "sources.json"
        self.sources = vocabulary_from_json(own.read_text(encoding="utf-8")) if own.is_file() else None
        self.splits = {name: Split(folder, name, found) for name, found in summary["splits"].items()}
        self.labels: list[str] = summary["labels"]
        self.attributes: dict[str, list[str]] = summary.get("attributes", {})
        self.fingerprint: str = summary["fingerprint"]
        self.notes: list[str] = summary["notes"]
        self.oov: dict[str, float] = {name: found["oov"] for name, found in summary["splits"].items()}


def open_corpus(settings: DataSettings, known: Known | None = None) -> Corpus:
    """The corpus of these settings, encoded if it has not been yet; with the vocabulary of a finished run, if one is
    ``known``.

    Raises:
        ConfigError: a setting cannot be used.
        DataError: a file is missing or malformed, or the cache cannot be written.
    """
    return Corpus(*cached(settings, encode, known))


def cached(
    settings: DataSettings,
    write: Callable[[DataSettings, Path, Known | None], dict[str, Any]],
    known: Known | None = None,
) -> tuple[Path, dict[str, Any]]:
    """The cache entry of a corpus and its summary.

    Args:
        settings: of the corpus.
        write: fills the folder of a new entry and returns its summary. It uses no setting that
            :meth:`DataSettings.entry` leaves out.
        known: of a finished run, instead of what the texts would give.
    """
    from filelock import FileLock

    if settings.vocabulary.run and known is None:
        raise ConfigError(
            f"data.vocabulary.run={settings.vocabulary.run}: this data module makes a vocabulary of its own\n"
            "try  a class with an argument known, as lvexp.data.module.TextData"
        )
    read = splits_of(settings.place, known)
    check(settings, read)
    content = fingerprint(settings.place, read)
    if content == ABSENT:
        raise DataError(f"data={settings.place.name}: its files vanished while they were read\ntry  again")
    entry = cache(settings) / f"{settings.place.name}-{_key(settings, content, known)}"
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        if (summary := _valid(entry)) is None:
            with FileLock(f"{entry}.lock"):
                if (summary := _valid(entry)) is None:
                    summary = _build(entry, content, lambda folder: write(settings, folder, known))
        return entry, summary
    except OSError as error:
        raise DataError(
            f"data.cache={entry.parent}: the encoded corpus cannot be kept there: {error.strerror or error}\n"
            "try  LVEXP_CACHE=DIR in the environment or data.cache=DIR, a folder with room that you may write to"
        ) from error


def cache(settings: DataSettings) -> Path:
    """The folder of encoded corpora: ``data.cache``, otherwise ``LVEXP_CACHE``, otherwise the user's cache folder."""
    return Path(str(settings.cache)).expanduser() if settings.cache else gathered.folder()


def _key(settings: DataSettings, content: str, known: Known | None = None) -> str:
    names = {split: path.name for split, path in files(settings.place).items()}  # these are in the notes
    values = {**settings.entry(), "files": names}
    if known is not None:
        values["known"] = known.entry()
    if settings.sourced:
        values["order"] = "by the length of the source too"  # unlike entries of earlier versions
    text = json.dumps([VERSION, content, values], sort_keys=True, default=dict)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _build(entry: Path, content: str, write: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    folder, aside = (entry.with_name(f".{entry.name}-{what}") for what in ("new", "damaged"))
    for left in (folder, aside):  # left by a killed writer, since we hold the lock
        shutil.rmtree(left, ignore_errors=True)
    try:
        folder.mkdir()
        summary = write(folder)
        summary |= {"fingerprint": content, "files": {path.name: _sum(path) for path in sorted(folder.iterdir())}}
        (folder / "summary.json").write_text(json.dumps(summary, ensure_ascii=False), encoding="utf-8")
        if entry.exists():
            os.rename(entry, aside)  # atomic, so that no reader sees a part of it
        os.rename(folder, entry)
    finally:
        for left in (folder, aside):
            shutil.rmtree(left, ignore_errors=True)
    return summary


def _valid(entry: Path) -> dict[str, Any] | None:
    """The summary of an intact entry; None if it is missing or any byte of it has changed."""
    try:
        summary = json.loads((entry / "summary.json").read_text(encoding="utf-8"))
        whole = all(_sum(entry / name) == expected for name, expected in summary["files"].items())
        return summary if whole else None
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None


def _sum(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
