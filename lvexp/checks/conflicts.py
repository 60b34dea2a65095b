"""What an option says it does not go with: a trait of another option, or values anywhere. Free of torch.

A part of :mod:`lvexp.checks.refusals`. Where traits speak of what is missing, a conflict speaks of what is there::

    conflicts:
      - if: {fused: true}                               # where this holds of the option's own values,
        because: clips before the scale is taken out    # (what is said of it)
        with: {trainer.precision: 16-mixed}             # it does not go with these values, or with a trait,
        which: scales the gradients                     # (what is said of the other)
        unless: attends                                 # but for an option that offers this trait
        try: [optimizer.fused=false]                    # what to type instead

``if`` and ``unless`` may be left out. ``{key}`` in any of it is the option's own value, ``{self}`` where it stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lvexp.checks.declarations import Option, apart, filled, holds
from lvexp.checks.limits import typed
from lvexp.checks.values import at


def check(plain: Mapping[str, Any], options: Sequence[Option]) -> None:
    """Raises :class:`lvexp.errors.Refusal` for the first conflict that a configuration has."""
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
    """What an option conflicts with, as it is typed; empty where it is not there."""
    if isinstance(named, Mapping):
        there = {path: at(plain, path) for path in named}
        return " ".join(f"{path}={typed(value)}" for path, value in there.items()) if holds(named, there) else ""
    return next((other.typed for other in options if other is not option and named in other.offers), "")
