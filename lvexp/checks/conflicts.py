"""Conflicts: an option declares a trait of another option, or values anywhere, as incompatible with it. Free of torch.

A part of :mod:`lvexp.checks.refusals`. Traits are about what is missing; a conflict is about what is present::

    conflicts:
      - if: {fused: true}                               # if this holds for the option's own values,
        because: clips before the scale is taken out    # (message about the option)
        with: {trainer.precision: 16-mixed}             # it is incompatible with these values, or with a trait,
        which: scales the gradients                     # (message about the other choice)
        unless: attends                                 # unless an option offers this trait
        try: [optimizer.fused=false]                    # what to type instead

``if`` and ``unless`` are optional. ``with: regularizer``, or another group with several options: with any of them.
Anywhere in it, ``{key}`` is the value of the option's own key, ``{self}`` its path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lvexp.checks.declarations import Option, apart, filled, holds
from lvexp.checks.limits import typed
from lvexp.checks.values import at


def check(plain: Mapping[str, Any], options: Sequence[Option]) -> None:
    """Raises :class:`lvexp.errors.Refusal` for the first conflict in a configuration."""
    for option in options:
        for declared in option.node.get("conflicts") or []:
            conflict = filled(declared, option)
            if not holds(conflict.get("if") or {}, option.node):
                continue
            if any(conflict.get("unless") in other.offers for other in options):
                continue
            if other := _other(conflict["with"], plain, option, options):
                own = option.spelled(conflict.get("if") or {})
                raise apart((own, conflict["because"]), (other, conflict["which"]), [" | ".join(conflict["try"])])


def _other(named: str | Mapping[str, Any], plain: Mapping[str, Any], option: Option, options: Sequence[Option]) -> str:
    """What an option conflicts with, as it is typed; empty if it is not present."""
    if isinstance(named, Mapping):
        there = {path: at(plain, path) for path in named}
        chosen = {f"{other.path}._target_": other.typed for other in options}  # any class there: the option itself
        spelled = (chosen.get(path) or f"{path}={typed(value)}" for path, value in there.items())
        return " ".join(spelled) if holds(named, there) else ""
    present = (other for other in options if other is not option and (named in other.offers or named == other.group))
    return next((other.typed for other in present), "")
