"""Figures of runs against a value that was varied: what z carries, and what is left to the decoder."""

from __future__ import annotations

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


def along(table: Table, key: str) -> list[tuple[str, Group]]:
    """The groups for which a value of the key was typed, in order of the value: numbers by size, then words.

    Raises:
        ConfigError: fewer than two were, or two have the same value.
    """
    found = [(value, group) for group in table.groups if (value := typed(group, key)) is not None]
    if len(found) < 2 or len({value for value, _ in found}) < len(found):
        several = "several groups have the same value" if len(found) > 1 else "fewer than two groups have a value"
        raise ConfigError(
            f"--along {key}: {several} of it\ntry  a key that was swept, with the runs of that sweep alone"
        )

    def order(pair: tuple[str, Group]) -> tuple[float, str]:
        try:
            return float(pair[0]), ""
        except ValueError:
            return float("inf"), pair[0]

    return sorted(found, key=order)


def along_figure(table: Table, key: str) -> Figure:
    """Two panels with the values of the key evenly spaced: rate and mutual information; -ELBO, NLL and distortion. Bars
    are standard deviations over seeds. Of more than twelve values, only some are written below the axis."""
    from matplotlib.figure import Figure

    found = along(table, key)
    figure = Figure(figsize=(8.4, 3.4), layout="constrained")
    every = math.ceil(len(found) / _TICKS)
    label = key if every == 1 else f"{key}, one value of {every} written"
    panels = (("What z carries", _ABOVE), (f"What a {table.unit} costs", _BELOW))
    for axes, (title, names) in zip(figure.subplots(1, 2), panels, strict=True):
        dress(axes, title, label, f"nats per {table.unit}")
        for (name, said), colour in zip(names, COLOURS, strict=False):
            _line(axes, [columns.spread(group.runs, name) for _, group in found], said, colour)
        axes.set_xticks(range(0, len(found), every), [value for value, _ in found[::every]])
        axes.legend(fontsize=8, frameon=False)
    figure.axes[0].set_ylim(bottom=0)
    return figure


def _line(axes, spreads: Sequence[columns.Spread], label: str, colour: str) -> None:
    there = [(at, *spread) for at, spread in enumerate(spreads) if spread is not None]
    if there:
        at, means, deviations = zip(*there, strict=True)
        bars = [deviation or 0.0 for deviation in deviations]
        dots = {"marker": "o", "markersize": 4, "capsize": 2} if len(spreads) <= _DOTS else {"linewidth": 0.8}
        axes.errorbar(at, means, bars, label=label, color=colour, **dots)
