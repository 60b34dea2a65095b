"""Structured tags of a text, such as the morphological features of a word, written in one column."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

#: the value of a key that a text has no tag for; always the first
NONE = "none"
_BETWEEN = re.compile(r"[,;]")


def parse(text: str) -> dict[str, str]:
    """Key → value of tags such as ``pos=N,case=DAT``. A tag without ``=``, as in ``N;PL``, is both key and value.

    Raises:
        ValueError: a tag has no key or no value, or a key occurs twice.
    """
    found: dict[str, str] = {}
    for tag in filter(None, (part.strip() for part in _BETWEEN.split(text))):
        key, equal, value = (part.strip() for part in tag.partition("="))
        if not key or (equal and not value):
            raise ValueError(f"{tag!r} is no tag: it is KEY=VALUE, or a word")
        if key in found:
            raise ValueError(f"{key!r} occurs twice")
        found[key] = value or key
    return found


def write(tags: Mapping[str, str]) -> str:
    """The inverse of :func:`parse`."""
    return ",".join(key if key == value else f"{key}={value}" for key, value in tags.items())


def names(found: Mapping[str, set[str]]) -> dict[str, list[str]]:
    """Key → its values in order, :data:`NONE` first."""
    return {key: [NONE, *sorted(found[key] - {NONE})] for key in sorted(found)}


def numbers(tags: Mapping[str, str] | None, known: Mapping[str, Sequence[str]]) -> list[int]:
    """The number of the value of each known key; -1 for all if the tags are not known. A value that is not known counts
    as :data:`NONE`."""
    if tags is None:
        return [-1] * len(known)
    return [values.index(value) if (value := tags.get(key, NONE)) in values else 0 for key, values in known.items()]


def strange(tags: Mapping[str, str], known: Mapping[str, Sequence[str]]) -> list[str]:
    """The tags that are not known."""
    return [write({key: value}) for key, value in tags.items() if value not in known.get(key, ())]
