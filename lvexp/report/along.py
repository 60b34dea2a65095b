"""Figures of runs against a value that was varied: what z carries, and what is left to the decoder."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lvexp.errors import ConfigError
from lvexp.report import columns
from lvexp.report.compare import Group, Table
from lvexp.report.style import COLOURS, dress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ABOVE = (("rate", "rate R"), ("mi", "mutual information"))
_TICKS, _DOTS = 12, 60  # of more values not all are written below, or have a dot
_BELOW = (("nelbo", "−ELBO"), ("nll", "NLL"), ("distortion", "distortion D"))


def typed(group: Group, key: str) -> str | None:
    """The value of a key that was typed for a group's runs; None if it was not typed."""
    words = (word.lstrip("+").partition("=") for word in group.runs[0]["overrides"])
    return next((value for name, _, value in words if name == key), None)


def along(table: Table, key: str, by: Sequence[str] = ()) -> dict[str, list[tuple[str, Group]]]:
    """The groups for which a value of the key was typed, in order of the value: numbers by size, then words. Each line
    has those with the same options of the keys ``by``, and is called by them. With ``by``, a group for which no value
    was typed has the value "default".

    Raises:
        ConfigError: fewer than two values were typed, two groups of a line have the same value, or no group has one of
            the keys ``by``.
    """
    found = {group.id: typed(group, key) for group in table.groups}
    if sum(value is not None for value in found.values()) < 2:
        raise ConfigError(
            f"--along {key}: fewer than two groups have a value of it\n"
            "try  a key that was swept, with the runs of that sweep alone"
        )
    options = {
        group.id: {one: group.runs[0]["choices"].get(one) or typed(group, one) for one in by} for group in table.groups
    }
    for one in by:
        if not any(each[one] for each in options.values()):
            raise ConfigError(f"--lines {one}: no run was given a value of it\ntry  a key that was varied")
    lines: dict[str, dict[str, Group]] = {}
    for group in table.groups:
        value = found[group.id]
        if value is None and not by:
            continue
        name = ", ".join(f"{one}={option or 'default'}" for one, option in options[group.id].items())
        line = lines.setdefault(name, {})
        value = value or "default"
        if value in line:
            named = f"{line[value].name} | {group.name}"
            raise ConfigError(
                f"--along {key}: several groups have the value {value}: {named}\n"
                "try  the runs of that sweep alone | --lines KEY, where another key was varied too"
            )
        line[value] = group

    return {name: sorted(line.items(), key=lambda pair: _order(pair[0])) for name, line in sorted(lines.items())}


def _order(value: str) -> tuple[float, str]:
    try:
        return float(value), ""
    except ValueError:
        return float("inf"), value


def along_figure(
    table: Table, key: str, by: Sequence[str] = (), figures: Sequence[columns.Column] | None = None
) -> Figure:
    """Panels with the values of the key evenly spaced. Bars are standard deviations over seeds. Of more than twelve
    values, only some are written below the axis.

    Args:
        by: keys; each combination of their options has a line.
        figures: one for each panel; without, rate and mutual information are in one, and -ELBO, NLL and distortion in
            another.
    """
    from matplotlib.figure import Figure

    lines = along(table, key, by)
    values = sorted({value for line in lines.values() for value, _ in line}, key=_order)
    every = math.ceil(len(values) / _TICKS)
    label = key if every == 1 else f"{key}, one value of {every} written"
    cost = f"nats per {table.unit}"
    panels = [("What z carries", cost, _ABOVE), (f"What a {table.unit} costs", cost, _BELOW)]
    if figures is not None:
        panels = [(column.label, column.label, ((column.key, ""),)) for column in figures]
    below = 0.2 * len(lines) if figures is not None and by else 0.0
    figure = Figure(figsize=(4.2 * len(panels), 3.4 + below), layout="constrained")
    for axes, (title, unit, names) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        dress(axes, title, label, unit)
        drawn = [(line, name, said) for line in lines for name, said in names]
        for (line, name, said), colour in zip(drawn, itertools.cycle(COLOURS), strict=False):
            spreads = {value: columns.spread(group.runs, name) for value, group in lines[line]}
            _line(axes, [spreads.get(value) for value in values], ": ".join(filter(None, (line, said))), colour)
        axes.set_xticks(range(0, len(values), every), values[::every])
        if figures is None:
            axes.legend(fontsize=8, frameon=False)
    if figures is None:
        figure.axes[0].set_ylim(bottom=0)
    elif by:  # below, where they hide nothing; a panel lacks the lines that have no such figure
        pairs = [zip(*axes.get_legend_handles_labels()[::-1], strict=True) for axes in figure.axes]
        named = dict(itertools.chain(*pairs))
        figure.legend([*named.values()], [*named], loc="outside lower center", fontsize=8, frameon=False)
    return figure


def _line(axes, spreads: Sequence[columns.Spread], label: str, colour: str) -> None:
    there = [(at, *spread) for at, spread in enumerate(spreads) if spread is not None]
    if there:
        at, means, deviations = zip(*there, strict=True)
        bars = [deviation or 0.0 for deviation in deviations]
        dots = {"marker": "o", "markersize": 4, "capsize": 2} if len(spreads) <= _DOTS else {"linewidth": 0.8}
        axes.errorbar(at, means, bars, label=label, color=colour, **dots)
