"""The keys and options that a command line may name, and what a key that does not exist was probably meant to be. Free
of torch."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lvexp.checks import nearest, synonyms
from lvexp.checks.declarations import AROUND, DECLARED, GROUPS, SEVERAL
from lvexp.checks.limits import typed as as_typed
from lvexp.checks.values import defaults, leaves, yaml


class Menu:
    """All keys and options that a command line may name.

    Args:
        folder: of the options. words: of the command line, which says what is chosen.
    """

    def __init__(self, folder: Path, words: Sequence[str] = ()):
        self.folder, self.words = folder, words
        first = [*GROUPS, *SEVERAL, *AROUND]
        there = [path.name for path in folder.iterdir() if path.is_dir()]
        self.groups = sorted(there, key=lambda name: (first.index(name) if name in first else len(first), name))

    @functools.cached_property
    def default(self) -> dict[str, str]:
        """Group → the option that is chosen where none is typed."""
        return dict(_listed(self.folder / "config.yaml"))

    @functools.cached_property
    def chosen(self) -> dict[str, str]:
        """Group → option; several as a list, [a,b]."""
        pairs = (word.partition("=") for word in self.words)
        typed = {key: value for key, _, value in pairs if value and key in self.groups}
        model = self.folder / "model" / f"{typed.get('model', self.default.get('model'))}.yaml"
        return self.default | (dict(_listed(model)) if model.is_file() else {}) | typed

    @functools.cached_property
    def keys(self) -> dict[str, Any]:
        """Path of every key of the chosen options → its default."""
        several = [(group, one) for group in SEVERAL for one in self.chosen.get(group, "").strip("[]").split(",")]
        found = dict(defaults(self.chosen, several, self.folder))
        return {path: value for path, value in found.items() if not any(map(_declares, path.split(".")))}

    def options(self, group: str) -> list[str]:
        return sorted(file.stem for file in (self.folder / group).glob("*.yaml"))

    def groups_of(self, option: str) -> list[str]:
        """The groups that have an option of this name."""
        return [group for group in self.groups if nearest.plain(option) in map(nearest.plain, self.options(group))]

    def target(self, group: str) -> str | None:
        """The class of the chosen option."""
        file = self.folder / group / f"{self.chosen.get(group)}.yaml"
        node = yaml(file)[1] if file.is_file() else {}
        node = node.get("model", node) if group == "model" else node
        return node.get("_target_")

    def is_key(self, key: str) -> bool:
        return key in self.groups or key in self.keys or key in yaml(self.folder / "config.yaml")[1]

    def meant(self, key: str, value: str | None = None) -> list[str]:
        """What to type instead of a key that does not exist, as alternatives, most likely first.

        Args:
            key: as it was typed. value: what it was given; None if nothing.
        """
        key = key.strip("+~")
        last = key.rpartition(".")[2].lower().replace("-", "_")
        for name in (key.lower().replace("-", "_"), last):
            if name in synonyms.KEYS:
                return self._filled(synonyms.KEYS[name], value, key.partition(".")[0] if "." in key else "")
        if group := self._group(key):
            return [self.choice(group, value)]
        return self._key(key, last, value) or self._option(key, value) or self._close(key, last, value)

    def _filled(self, answer: str | Mapping[str | None, str], value: str | None, group: str) -> list[str]:
        if isinstance(answer, Mapping):
            answer = answer.get((value or "").lower()) or answer[None]
        if value is None and "{value}" in answer:
            return [answer.format(value="…")]
        words = [word.format(value=value) for word in answer.split(" ")]
        own = [word for word in words if group and word.startswith(f"{group}.")]
        return [" ".join(self._whole(word) for word in own or words)]

    def _whole(self, word: str) -> str:
        key, _, value = word.partition("=")
        return self.choice(key, value) if key in self.groups else nearest.quoted(word)

    def choice(self, group: str, value: str | None) -> str:
        """A choice in a group: the option that the value is most like, or the default."""
        if value in self.options(group) or (value or "").startswith("["):
            return nearest.quoted(f"{group}={value}")
        near = nearest.option(group, value, self.options(group)) if value else []
        return near[0] if near else f"{group}={self.default.get(group) or self.options(group)[0]}"

    def _group(self, key: str) -> str | None:
        if "." in key or len(key) < 2:
            return None
        close = difflib.get_close_matches(nearest.plain(key), self.groups, 1, 0.75)
        return next(
            (group for group in self.groups if nearest.plain(key) in (group, f"{group}s")), close[0] if close else None
        )

    def _key(self, key: str, last: str, value: str | None) -> list[str]:
        """Existing keys of the same name, elsewhere or of another option."""
        group, _, rest = key.partition(".")
        same = [path for path in self.keys if nearest.plain(path) == nearest.plain(key)]
        same = same or [path for path in self.keys if nearest.plain(path.rpartition(".")[2]) == nearest.plain(last)]
        same = [path for path in same if path.startswith(f"{group}.")] or same
        if pair := [path for path in same if path in (f"encoder.{last}", f"decoder.{last}")]:
            same = pair
        found = [self._set(path, value) for path in same[:3]]
        if len(pair) == 2 and group not in ("encoder", "decoder"):
            found = [" ".join(found)]
        if found or group not in self.groups:
            return found
        for name in self.options(group):  # a key of another option of the group
            node = yaml(self.folder / group / f"{name}.yaml")[1]
            if group not in SEVERAL and rest in dict(leaves(node)):
                found.append(f"{group}={name} {self._set(key, value)}")
        if last in self.groups:  # model.encoder=lstm
            found.append(self.choice(last, value))
        return found[:3]

    def _option(self, key: str, value: str | None) -> list[str]:
        """Options of this name, ``free_bits=3``, or with a key of theirs, ``free_bits.nats=3``."""
        first, _, rest = key.partition(".")
        found = []
        for group in self.groups_of(first):
            name = next(one for one in self.options(group) if nearest.plain(one) == nearest.plain(first))
            node = yaml(self.folder / group / f"{name}.yaml")[1]
            own, path = (node.get(name) or {}, f"{group}.{name}") if group in SEVERAL else (node, group)
            numbers = [key for key, given in own.items() if isinstance(given, int | float) and not _declares(str(key))]
            inner = (
                rest if rest in own else numbers[0] if value and re.fullmatch(r"[\d.e-]+", value) and numbers else ""
            )
            found.append(f"{group}={name}" + (f" {path}.{inner}={value}" if inner and value else ""))
        return found[:2]

    def _close(self, key: str, last: str, value: str | None) -> list[str]:
        paths = {nearest.plain(path): path for path in self.keys}
        near = difflib.get_close_matches(nearest.plain(key), paths, 1, 0.8)
        if near:
            return [self._set(paths[near[0]], value)]
        group = key.partition(".")[0]
        within = {nearest.plain(path.rpartition(".")[2]): path for path in self.keys if path.startswith(f"{group}.")}
        within = within or {nearest.plain(path): path for path in self.keys if "." not in path}
        near = difflib.get_close_matches(nearest.plain(last), within, 1, 0.6)
        near = near or [
            one for one in within if len(one) > 2 and (one in nearest.plain(last) or nearest.plain(last) in one)
        ]
        return [self._set(within[near[0]], value)] if near else []

    def _set(self, path: str, value: str | None) -> str:
        if value is None or value == "":
            default = self.keys.get(path)
            return f"{path}=true" if isinstance(default, bool) else f"{path}={as_typed(default)}"
        return nearest.quoted(f"{path}={value}")


def _declares(part: str) -> bool:
    return part in DECLARED or part.startswith("_")


@functools.cache
def _listed(file: Path) -> tuple[tuple[str, str], ...]:
    """Group → option in the defaults list of a file."""
    return tuple(_entries(yaml(file)[1].get("defaults") or []))


def _entries(entries: Iterable[object]) -> Iterator[tuple[str, str]]:
    for entry in entries:
        for group, chosen in entry.items() if isinstance(entry, Mapping) else ():
            if "hydra" not in str(group):
                yield str(group).removeprefix("override").strip(" /"), "" if chosen is None else as_typed(chosen)
