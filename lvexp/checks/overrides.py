"""Overrides: each can be read by Hydra's grammar, and a group is given one option. Free of torch.

Checked before Hydra reads them, which would take the last of several options and names only the place of a sign.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from lvexp.checks import synonyms
from lvexp.checks.declarations import GROUPS, SEVERAL, without
from lvexp.checks.menu import Menu
from lvexp.checks.nearest import plain, quoted
from lvexp.checks.words import is_override
from lvexp.errors import ConfigError


def check(words: Sequence[str], menu: Path) -> None:
    """Raises :class:`ConfigError` for the first override that cannot be read.

    Args:
        words: of the command line. menu: the folder of the options.
    """
    known = Menu(menu, words)
    _readable(filter(is_override, words), known)
    _needed(words)
    _once(words, known)


def _readable(overrides: Iterable[str], menu: Menu) -> None:
    """Rejects what Hydra's grammar cannot read, most often signs in a value that need quotes."""
    parser = OverridesParser.create()
    for word in overrides:
        try:
            parser.parse_override(word)
        except HydraException:
            key, _, value = word.partition("=")
            if key in menu.groups and (name := re.match(r"\w+", value)):
                raise ConfigError(
                    f"{word}: the name of an option, with no signs\ntry  {menu.choice(key, name[0])}"
                ) from None
            within = f"""{key}="{value.replace('"', "")}\""""
            raise ConfigError(
                f"{word}: signs in a value, such as blanks, brackets, = or ~, need quotes within quotes\n"
                f"try  {quoted(within)}"
            ) from None


def _needed(words: Iterable[str]) -> None:
    for word in words:
        if word.startswith("~") and word[1:].partition("=")[0] in GROUPS:
            raise ConfigError(f"{word}: every job needs one option of this group\ntry  leave out {word}")


def _once(words: Iterable[str], menu: Menu) -> None:
    """Rejects a group with two options, of which Hydra would take the last, and words that cannot name an option."""
    first: dict[str, str] = {}
    for word in filter(is_override, words):
        group = word.partition("=")[0].lstrip("+")
        if group.partition("@")[0] not in menu.groups:
            continue
        try:
            override = OverridesParser.create().parse_override(word)
            chosen = list(override.sweep_string_iterator()) if override.is_sweep_override() else [override.value()]
        except HydraException:
            continue  # reported elsewhere; glob(*) needs the menu
        if any(name in ("null", "") or not isinstance(name, str | list) for name in chosen):
            value = word.partition("=")[2]
            asked = group in synonyms.VALUES and (group == "logger" or plain(value) not in ("null", ""))
            likely = menu.meant(group, value) if asked or group in synonyms.NUMBERS else []
            default = menu.default.get(group)
            advice = without(group) if group in SEVERAL else f"leave out {group}=…"
            if not value and default and group not in SEVERAL:
                advice = f"{group}={default}  (the default)"
            tries = dict.fromkeys([*(one for one in likely if one != word), advice, "--help, which lists them"])
            raise ConfigError(f"{word}: is no option of {group}\ntry  {' | '.join(tries)}")
        if (before := first.setdefault(group, word)) != word:
            names = [part.partition("=")[2].strip("[]") for part in (before, word)]
            both = f" | {group}=[{','.join(names)}]" if group in SEVERAL else ""
            raise ConfigError(f"{before} {word}: {group} is given twice\ntry  {before} | {word}{both}")
