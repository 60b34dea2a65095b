"""The small language of ``limits``, which defines the allowed values, as a test and in words. Free of torch.

A limit is a list of alternatives, joined by ``or``. Each is a kind (``whole``, ``share``, ``number``, ``text``,
``file``, ``truth``, ``null``, ``list of`` a kind), possibly followed by bounds (``> 0 <= 1``); or bounds alone; or a
single value (``-1``, ``english``)::

    share > 0 <= 1 or whole >= 1        whole >= 1 or -1        list of whole >= 1 or null
"""

from __future__ import annotations

import functools
import operator
import os
from collections.abc import Callable, Mapping
from typing import Any

from lvexp.errors import ConfigError

_SIGNS = {
    ">": (operator.gt, "above"), ">=": (operator.ge, "at least"),
    "<": (operator.lt, "below"), "<=": (operator.le, "at most"),
}  # fmt: skip
Test = tuple[Callable[[Any], bool], str]


def typed(value: Any) -> str:
    """A value as it is typed on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(typed, value))}]"
    if isinstance(value, Mapping):
        shown = "{" + ",".join(f"{key}:{typed(inner)}" for key, inner in value.items()) + "}"
    else:
        shown = str(value) if not isinstance(value, int) or abs(value) < 10**40 else "a number of very many digits"
    return shown if len(shown) <= 200 else f"{shown[:200]}…"


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether a value is a number; a truth value is not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


#: kind → test, in words
KINDS: dict[str, Test] = {
    "whole": (_whole, "a whole number"),
    "share": (lambda value: isinstance(value, float), "a share (written with a point)"),
    "number": (is_number, "a number"),
    "text": (lambda value: isinstance(value, str) and value != "", "a text"),
    "truth": (lambda value: isinstance(value, bool), "true or false"),
    "file": (lambda value: isinstance(value, str) and os.path.isfile(os.path.expanduser(value)), "a regular file"),
    "null": (lambda value: value is None, "null"),
    "mapping": (lambda value: isinstance(value, Mapping), "a mapping, {key:value,…}"),
}


def complete(limit: str) -> bool:
    """Whether a limit determines the kind of a value; otherwise the default value does."""
    return limit.split()[0] not in _SIGNS


def reads_null(limit: str) -> bool:
    """Whether a limit allows null."""
    return "null" in limit.split(" or ")


@functools.cache
def read(limit: str) -> Test:
    """A limit as a test and in words."""
    tests = [_alternative(words.split(), limit) for words in limit.split(" or ")]
    return lambda value: any(fits(value) for fits, _ in tests), ", or ".join(wanted for _, wanted in tests)


def _alternative(words: list[str], limit: str) -> Test:
    if words[:2] == ["list", "of"]:
        each, wanted = _alternative(words[2:], limit)
        return (
            lambda value: isinstance(value, list) and len(value) > 0 and all(map(each, value)),
            f"a list in which every element is {wanted}",
        )
    fits, wanted = KINDS.get(words[0], (is_number, ""))
    bounds = words[words[0] in KINDS :]
    if len(words) == 1 and words[0] not in (*KINDS, *_SIGNS):  # a single value
        return lambda value: typed(value) == bounds[0], bounds[0]
    try:
        rules = [(*_SIGNS[sign], float(bound)) for sign, bound in zip(bounds[::2], bounds[1::2], strict=True)]
    except (KeyError, ValueError):
        raise ConfigError(
            f"limits: {limit!r} is no limit\ntry  one such as '>= 0 < 1', 'whole >= 1 or null', 'text'"
        ) from None
    asked = " and ".join(f"{word} {bound:.12g}" for _, word, bound in rules)
    if [word for _, word, _ in rules] == ["at least", "at most"]:
        asked = "between {:.12g} and {:.12g}".format(*(bound for *_, bound in rules))
    return (
        lambda value: fits(value) and all(compare(value, bound) for compare, _, bound in rules),
        f"{wanted}{' ' if wanted and asked else ''}{asked}",
    )
