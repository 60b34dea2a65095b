"""What an option's yaml says of the option itself, beside the values that its class takes. Free of torch.

========================  ==============================================================================
``provides: [rate]``      traits that the option offers to the others (:data:`lvexp.checks.traits.TRAITS`)
``requires: [rate]``      traits that one of the others must offer
``owns: [beta]``          slots that only one option may hold
``provides_if``, …        the same under a condition, ``requires_if: {simplex: {mixture: words}}``
``because``               trait → what the option says of its need, in place of the usual words
``conflicts``             what the option does not go with, and why (:mod:`lvexp.checks.conflicts`)
``starts_from: [run]``    keys that name the folder of a finished language model (:mod:`lvexp.checks.parent`)
``ignores: [dim]``        keys that it has for the sake of sweeps, and does not use
``limits``, ``one_of``    key → limit, key → list of words (:mod:`lvexp.checks.values`)
========================  ==============================================================================

A *condition* is a mapping: key → limit, in the language of :mod:`lvexp.checks.limits`. It holds where each key is there
and keeps its limit: ``{attention: false}``, ``{per: dimension or batch}``, ``{beta: "< 1 or > 1"}``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lvexp.checks.limits import read, typed
from lvexp.data.source import columns
from lvexp.errors import ConfigError, Refusal

#: declarations under a condition
CONDITIONAL = ("requires_if", "provides_if", "owns_if")
#: declarations that are lists of names
_LISTS = ("requires", "provides", "owns", "ignores", "starts_from")
#: what a yaml says of its option, to be told from what the option takes
DECLARED = (*_LISTS, *CONDITIONAL, "because", "conflicts", "limits", "one_of")
#: keys of a conflict → whether it must have them
_OF_A_CONFLICT = {"if": False, "because": True, "with": True, "unless": False, "which": True, "try": True}
#: groups of which one option is chosen
GROUPS = ("model", "encoder", "decoder", "latent", "estimator", "anneal", "init", "data")
#: groups that say how a run is carried out
AROUND = ("optimizer", "trainer", "logger", "paths")


@dataclass(frozen=True)
class Option:
    """An option that was chosen.

    Args:
        group: the group that it is an option of.
        path: where it stands in the configuration, such as ``regularizer.mdr``.
        typed: how it was typed, such as ``regularizer=mdr``.
        node: what the configuration holds there.
        block: whether it stands for a block of another option of its group.
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
        """The traits that the others may count on. Those of a corpus follow from its columns, those of a block are for
        the option that it is a block of."""
        if self.block:
            return frozenset()
        return columns(self.node) if self.group == "data" else frozenset(traits(self.node, "provides"))

    def spelled(self, condition: Mapping[str, Any]) -> str:
        """The values that a condition speaks of, as they are typed; the option itself where it has none of them."""
        there = [f"{self.path}.{key}={typed(self.node[key])}" for key in condition if key in self.node]
        return " ".join(there) or self.typed


def chosen(plain: Mapping[str, Any], choices: Mapping[str, Any]) -> Iterator[Option]:
    """Every option of a configuration: one of each group, the blocks of those that have some, the regularizers, and
    what is around a run."""
    for group in GROUPS:
        node = plain.get(group)
        if not isinstance(node, Mapping):
            continue
        yield Option(group, group, f"{group}={choices.get(group, '?')}", node)
        for name, inner in node.items():
            if isinstance(inner, Mapping) and "_target_" in inner:
                path = f"{group}.{name}"
                yield Option(group, path, f"{path}={choices.get(f'{group}@{path}', '?')}", inner, block=True)
    for name, node in (plain.get("regularizer") or {}).items():
        yield Option("regularizer", f"regularizer.{name}", f"regularizer={name}", node)
    for group in AROUND:
        if isinstance(plain.get(group), Mapping):
            yield Option(group, group, f"{group}={choices.get(group, '?')}", plain[group])


def holds(condition: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Whether every key of a condition is among the values and keeps its limit there."""
    return all(key in values and read(typed(limit))[0](values[key]) for key, limit in condition.items())


def traits(node: Mapping[str, Any], kind: str) -> list[str]:
    """What an option ``requires``, ``provides`` or ``owns`` with the values that it has."""
    conditional = (node.get(f"{kind}_if") or {}).items()
    return [*(node.get(kind) or []), *(trait for trait, condition in conditional if holds(condition, node))]


def condition(node: Mapping[str, Any], kind: str, trait: str) -> Mapping[str, Any]:
    """The condition under which an option ``requires``, ``provides`` or ``owns`` a trait; empty where there is none."""
    return {} if trait in (node.get(kind) or []) else (node.get(f"{kind}_if") or {}).get(trait, {})


def filled(said: Any, option: Option) -> Any:
    """A part of a conflict with the option's values in it: ``{hidden}`` is that of its key ``hidden``, ``{self}`` where
    the option stands."""
    if isinstance(said, Mapping):
        return {key: filled(value, option) for key, value in said.items()}
    if isinstance(said, list):
        return [filled(value, option) for value in said]
    values = {key: typed(value) for key, value in option.node.items() if not isinstance(value, Mapping | list)}
    return said.format_map({**values, "self": option.path}) if isinstance(said, str) else said


def apart(first: tuple[str, str], second: tuple[str, str], advice: Sequence[str]) -> Refusal:
    """The refusal of two choices, each as it is typed and with what is said of it; ``advice`` is what to type instead,
    a line each."""
    width = max(len(first[0]), len(second[0]))
    lines = [f"  {name:<{width}}   {why}" for name, why in (first, second)]
    starts = ("try  ", *["or   "] * len(advice))
    tries = [start + line for start, line in zip(starts, advice, strict=False)]
    return Refusal("\n".join(["these choices do not go together", *lines, *tries]))


# ---------------------------------------------------------------------------------------------------------------------
# their form


def check(plain: Mapping[str, Any], known: Mapping[str, Any], at: str = "") -> None:
    """Raises :class:`ConfigError` for a declaration that cannot be read, wherever it stands.

    Args:
        plain: the configuration, or a part of it.
        known: the traits there are.
        at: where the part stands.
    """
    for key, said in plain.items():
        path = f"{at}.{key}" if at else str(key)
        if at and key in DECLARED:
            if said is not None and (why := _wrong(key, said, plain, known)):
                raise ConfigError(f"{path}={typed(said)}: {why}\ntry  leave out {path}")
        elif isinstance(said, Mapping):
            check(said, known, path)


def _wrong(key: str, said: Any, node: Mapping[str, Any], known: Mapping[str, Any]) -> str | None:
    """What is wrong with a declaration; None where it can be read."""
    if key in _LISTS:
        if not isinstance(said, list) or not all(map(_is_text, said)):
            return "must be a list of names"
        return _no_trait(said, known) if key == "requires" else None
    if key == "conflicts":
        if not isinstance(said, list) or not all(isinstance(conflict, Mapping) for conflict in said):
            return "must be a list of mappings"
        return next(filter(None, (_wrong_conflict(conflict, node, known) for conflict in said)), None)
    if not isinstance(said, Mapping):
        wanted = {"one_of": "list of words", "limits": "limit", "because": "text"}.get(key, "condition")
        return f"must be a mapping: {'trait' if wanted in ('condition', 'text') else 'key'} → {wanted}"
    if key == "one_of":
        good = all(isinstance(words, list) and words for words in said.values())
        return None if good else "must be a mapping: key → list of words"
    if key in ("limits", "because"):
        if not all(_is_text(value) and value for value in said.values()):
            return f"must be a mapping: {'key → limit' if key == 'limits' else 'trait → text'}"
        return _no_trait(said, known) if key == "because" else None
    wrong = [_wrong_condition(condition) for condition in said.values()]
    return (None if key == "owns_if" else _no_trait(said, known)) or next(filter(None, wrong), None)


def _wrong_conflict(conflict: Mapping[str, Any], node: Mapping[str, Any], known: Mapping[str, Any]) -> str | None:
    for key, needed in _OF_A_CONFLICT.items():
        if needed and not conflict.get(key):
            return f"a conflict needs {key!r}, beside {', '.join(k for k in _OF_A_CONFLICT if k != key)}"
    if unknown := [key for key in conflict if key not in _OF_A_CONFLICT]:
        return f"a conflict has {', '.join(_OF_A_CONFLICT)}, and not {unknown[0]}"
    if not all(_is_text(conflict[key]) for key in ("because", "which")):
        return "'because' and 'which' must be texts"
    if not isinstance(conflict["try"], list) or not all(map(_is_text, conflict["try"])):
        return "'try' must be a list of what to type instead"
    try:
        conflict = filled(conflict, Option("", "", "", node))
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        return f"there is no value for {{…}}: {error}"
    other, named = conflict["with"], [conflict["unless"]] if conflict.get("unless") else []
    if isinstance(other, Mapping):
        return _wrong_condition(other) or _no_trait(named, known) or _wrong_condition(conflict.get("if") or {})
    return _no_trait([other, *named], known) or _wrong_condition(conflict.get("if") or {})


def _wrong_condition(condition: Any) -> str | None:
    if not isinstance(condition, Mapping):
        return "a condition must be a mapping: key → limit"
    for limit in condition.values():
        try:
            read(typed(limit))
        except ConfigError as error:
            return str(error).partition("\n")[0]
    return None


def _no_trait(names: Any, known: Mapping[str, Any]) -> str | None:
    return next((f"there is no trait {typed(name)}" for name in names if name not in known), None)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
