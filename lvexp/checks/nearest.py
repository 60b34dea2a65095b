"""What an option or a value that does not exist was probably meant to be. Free of torch."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterable, Sequence

from lvexp.checks import synonyms
from lvexp.checks.declarations import SEVERAL

#: suffixes of files of texts
TEXTS = (".txt", ".tsv", ".csv", ".jsonl", ".json", ".gz")
OWN = "data=text data.files.train={value}"


def plain(name: str) -> str:
    """A name as it is compared: whatever its case, with or without signs between its words."""
    return re.sub(r"[\s_.:/-]", "", name).lower()


def name(typed: str, names: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The name that is most like the typed one; None if there is none."""
    known = {plain(other): other for other in names}
    if plain(typed) in known:
        return known[plain(typed)]
    near = difflib.get_close_matches(plain(typed), known, 1, cutoff)
    inside = [other for other in known if len(plain(typed)) > 2 and (plain(typed) in other or other in plain(typed))]
    return known[(near or sorted(inside, key=len) or [None])[0]] if near or inside else None  # pyright: ignore


def option(group: str, typed: str, names: Sequence[str]) -> list[str]:
    """What to type instead of an option that does not exist, as alternatives.

    Args:
        group: its group. typed: the option. names: the options that there are.
    """
    if answer := synonyms.VALUES.get(group, {}).get(plain(typed)):
        return [answer if "=" in answer else f"{group}={answer}"]
    if group in synonyms.NUMBERS and re.fullmatch(r"[\d.]+", typed):
        return [f"{synonyms.NUMBERS[group]}={typed}"]
    near = name(typed, names)
    parts = [name(part, names, 0.8) for part in re.split(r"[\s+|;]+", typed) if part]
    if len(parts) > 1 and all(parts):
        if group in SEVERAL:
            return [quoted(f"{group}=[{','.join(map(str, parts))}]")]
        return [f"-m {group}={','.join(map(str, parts))}"]
    if group == "data" and not (near and plain(near) in (plain(typed), f"{plain(typed)}s")):
        hub = [] if "." in typed else [f"data=hf data.hf.path={typed}"]
        return [f"data={near}"] * bool(near) + hub + [OWN.format(value=typed if "." in typed else "FILE")]
    return [f"{group}={near}"] if near else []


def value(path: str, typed: str, words: Sequence[str]) -> str:
    """The word that is most like the typed value of a key."""
    return synonyms.VALUES.get(path, {}).get(plain(typed)) or name(typed, words, 0) or words[0]


def quoted(word: str) -> str:
    """A word as it is typed in a shell."""
    return shlex.quote(word)
