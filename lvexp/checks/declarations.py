"""Declarations: what an option's yaml states about the option, besides its class's arguments. Free of torch.

============================  ==========================================================================================
``provides: [rate]``          traits that the option offers to other options (:data:`lvexp.checks.traits.TRAITS`)
``requires: [rate]``          traits that another option must offer
``owns: [beta]``              slots that only one option may own
``withholds: [gaussian]``     traits that no option offers any longer, since this one replaces what they are about
``provides_if``, …            the same under a condition, ``requires_if: {simplex: {mixture: words}}``
``because``                   trait → why the option needs it, in place of the usual message
``conflicts``                 what the option is incompatible with, and why (:mod:`lvexp.checks.conflicts`)
``starts_from: [run]``        keys that name the folder of a finished language model (:mod:`lvexp.checks.parent`) with
                              the encoder's sizes; ``{run: language}``: which may be null, with the sizes under
                              ``language``
``ignores: [dim]``            keys that the option accepts for the sake of sweeps but does not use
``installed: {zuko: flows}``  packages that it needs → the extra that brings them
``limits``, ``one_of``        key → limit, key → list of words (:mod:`lvexp.checks.values`)
============================  ==========================================================================================

A *condition* is a mapping from keys to limits, in the language of :mod:`lvexp.checks.limits`. It holds if every key is
present and its value is within its limit: ``{attention: false}``, ``{per: dimension or batch}``,
``{beta: "< 1 or > 1"}``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lvexp.checks.limits import read, typed
from lvexp.data.settings import DataSettings
from lvexp.data.source import columns
from lvexp.errors import ConfigError, Refusal

#: declarations under a condition
CONDITIONAL = ("requires_if", "provides_if", "owns_if")
#: declarations that are lists of names
_LISTS = ("requires", "provides", "owns", "withholds", "ignores", "starts_from")
#: all keys that are declarations, as opposed to arguments of the option's class
DECLARED = (*_LISTS, *CONDITIONAL, "because", "conflicts", "installed", "limits", "one_of")
#: keys of a conflict → whether they are mandatory
_OF_A_CONFLICT = {"if": False, "because": True, "with": True, "unless": False, "which": True, "try": True}
#: groups with exactly one chosen option
GROUPS = ("model", "encoder", "decoder", "latent", "prior", "estimator", "anneal", "init", "data")
#: groups of them that may be empty: nothing is chosen then
EMPTY = ("prior",)
#: groups with any number of chosen options, each under its name → the name of such options in messages
SEVERAL = {"regularizer": "remedies", "instrument": "instruments", "logger": "loggers", "callbacks": "callbacks"}
#: groups that determine how a run is carried out
AROUND = ("optimizer", "scheduler", "trainer", "paths")


def without(group: str) -> str:
    """What to type for no option of a group with several."""
    return "logger=csv" if group == "logger" else f"{group}=none"


def undeclared(node: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration, or a part of it, without its declarations."""
    kept = {str(key): value for key, value in node.items() if key not in DECLARED}
    return {key: undeclared(value) if isinstance(value, Mapping) else value for key, value in kept.items()}


@dataclass(frozen=True)
class Option:
    """A chosen option.

    Args:
        group: the group of the option.
        path: its path in the configuration, such as ``regularizer.mdr``.
        typed: how it was typed, such as ``regularizer=mdr``.
        node: its part of the configuration.
        block: whether it is a block of another option of its group.
    """

    group: str
    path: str
    typed: str
    node: Mapping[str, Any] = field(repr=False)
    block: bool = False

    @property
    def name(self) -> str:
        return self.typed.partition("=")[2]

    @property
    def offers(self) -> frozenset[str]:
        """The traits that it offers to other options. Those of a corpus follow from its columns. A block offers none:
        its traits concern only the option that contains it."""
        if self.block:
            return frozenset()
        return columns(DataSettings.of(self.node)) if self.group == "data" else frozenset(traits(self.node, "provides"))

    def spelled(self, condition: Mapping[str, Any]) -> str:
        """The values that a condition refers to, as they are typed; the option itself if it has none of them."""
        there = [f"{self.path}.{key}={typed(self.node[key])}" for key in condition if key in self.node]
        return " ".join(there) or self.typed


def chosen(plain: Mapping[str, Any], choices: Mapping[str, Any]) -> Iterator[Option]:
    """Every option of a configuration: those of groups with one option, with their blocks, then those of groups with
    several, then those that determine how a run is carried out."""
    for group in GROUPS:
        node = plain.get(group)
        if not isinstance(node, Mapping):
            continue
        yield Option(group, group, f"{group}={choices.get(group, '?')}", node)
        for name, inner in node.items():
            if isinstance(inner, Mapping) and "_target_" in inner:
                path = f"{group}.{name}"
                yield Option(group, path, f"{path}={choices.get(f'{group}@{path}', '?')}", inner, block=True)
    for group in SEVERAL:
        for name, node in (plain.get(group) or {}).items():
            yield Option(group, f"{group}.{name}", f"{group}={name}", node)
    for group in AROUND:
        if isinstance(plain.get(group), Mapping):
            yield Option(group, group, f"{group}={choices.get(group, '?')}", plain[group])


def holds(condition: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Whether the values have every key of a condition, each within its limit."""
    return all(key in values and read(typed(limit))[0](values[key]) for key, limit in condition.items())


def traits(node: Mapping[str, Any], kind: str) -> list[str]:
    """What an option ``requires``, ``provides`` or ``owns``, given its values."""
    conditional = (node.get(f"{kind}_if") or {}).items()
    return [*(node.get(kind) or []), *(trait for trait, condition in conditional if holds(condition, node))]


def condition(node: Mapping[str, Any], kind: str, trait: str) -> Mapping[str, Any]:
    """The condition under which an option ``requires``, ``provides`` or ``owns`` a trait; empty if there is none."""
    return {} if trait in (node.get(kind) or []) else (node.get(f"{kind}_if") or {}).get(trait, {})


def filled(said: Any, option: Option) -> Any:
    """A part of a conflict with the option's values filled in: ``{hidden}`` is the value of its key ``hidden``,
    ``{self}`` its path."""
    if isinstance(said, Mapping):
        return {key: filled(value, option) for key, value in said.items()}
    if isinstance(said, list):
        return [filled(value, option) for value in said]
    values = {key: typed(value) for key, value in option.node.items() if not isinstance(value, Mapping | list)}
    return said.format_map({**values, "self": option.path}) if isinstance(said, str) else said


def apart(first: tuple[str, str], second: tuple[str, str], advice: Sequence[str]) -> Refusal:
    """The refusal of two incompatible choices, each given as it is typed and with a message about it; ``advice`` is a
    list of lines that say what to type instead."""
    width = max(len(first[0]), len(second[0]))
    lines = [f"  {name:<{width}}   {why}" for name, why in (first, second)]
    starts = ("try  ", *["or   "] * len(advice))
    tries = [start + line for start, line in zip(starts, advice, strict=False)]
    return Refusal("\n".join(["these choices do not go together", *lines, *tries]))


# ---------------------------------------------------------------------------------------------------------------------
# the form of declarations


def check(plain: Mapping[str, Any], known: Mapping[str, Any], at: str = "") -> None:
    """Raises :class:`ConfigError` for a malformed declaration anywhere in the configuration.

    Args:
        plain: the configuration, or a part of it.
        known: all existing traits.
        at: path of the part.
    """
    for key, said in plain.items():
        path = f"{at}.{key}" if at else str(key)
        if at and key in DECLARED:
            try:
                _form(key, said, plain, known)
            except ValueError as error:
                raise ConfigError(f"{path}={typed(said)}: {error}\ntry  leave out {path}") from error
        elif isinstance(said, Mapping):
            check(said, known, path)


def _form(key: str, said: Any, node: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Raises :class:`ValueError` saying what is wrong with a declaration; null counts as no declaration."""
    if said is None:
        return
    if key == "starts_from" and isinstance(said, Mapping):
        _wanted(all(map(_is_text, said.values())), "must be a list of names, or a mapping: key → key of the sizes")
    elif key in _LISTS:
        _wanted(isinstance(said, list) and all(map(_is_text, said)), "must be a list of names")
        _known(said if key in ("requires", "provides", "withholds") else (), known)
    elif key == "conflicts":
        _wanted(isinstance(said, list) and all(isinstance(one, Mapping) for one in said), "must be a list of mappings")
        for conflict in said:
            _conflict(conflict, node, known)
    elif key == "one_of":
        _mapping(said, "key → list of words", lambda words: isinstance(words, list) and len(words) > 0)
    elif key == "limits":
        _mapping(said, "key → limit", _is_text)
        _limits(said)
    elif key == "installed":
        _mapping(said, "package → extra", _is_text)
    elif key == "because":
        _mapping(said, "trait → text", _is_text)
        _known(said, known)
    else:
        _mapping(said, "trait → condition, a mapping: key → limit", lambda condition: isinstance(condition, Mapping))
        _known(said if key != "owns_if" else (), known)
        for condition in said.values():
            _limits(condition)


def _conflict(conflict: Mapping[str, Any], node: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    for key, needed in _OF_A_CONFLICT.items():
        _wanted(bool(conflict.get(key)) or not needed, f"a conflict needs {key!r}")
    for key in conflict:
        _wanted(key in _OF_A_CONFLICT, f"a conflict holds {', '.join(_OF_A_CONFLICT)}, and no {key!r}")
    _wanted(all(_is_text(conflict[key]) for key in ("because", "which")), "'because' and 'which' must be texts")
    tries = conflict["try"]
    _wanted(isinstance(tries, list) and all(map(_is_text, tries)), "'try' must be a list of what to type instead")
    try:  # with placeholders for its values, which are checked later
        conflict = filled(conflict, Option("", "", "", dict.fromkeys(node, 1)))
    except (LookupError, ValueError, AttributeError) as error:
        raise ValueError(f"{{…}} must name a key of the option, or be {{self}}: {error}") from error
    own, other = conflict.get("if") or {}, conflict["with"]
    _wanted(isinstance(own, Mapping), "'if' must be a mapping: key → limit")
    _limits(own)
    if isinstance(other, Mapping):
        _limits(other)
    else:
        _known([other], {**known, **SEVERAL})
    _known(filter(None, [conflict.get("unless")]), known)


def _mapping(said: Any, form: str, fits: Callable[[Any], bool]) -> None:
    _wanted(isinstance(said, Mapping) and all(map(fits, said.values())), f"must be a mapping: {form}")


def _limits(limits: Mapping[str, Any]) -> None:
    for limit in limits.values():
        try:
            read(typed(limit))
        except ConfigError as error:
            raise ValueError(str(error).partition("\n")[0]) from error


def _known(names: Iterable[Any], known: Mapping[str, Any]) -> None:
    for name in names:
        _wanted(name in known, f"there is no trait {typed(name)}")


def _wanted(good: bool, why: str) -> None:
    if not good:
        raise ValueError(why)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""
