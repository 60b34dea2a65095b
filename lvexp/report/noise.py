"""Reconstruction under noise on z."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lvexp.report.style import VALID, dress

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def noise_figure(curve: Sequence[tuple[float, float]]) -> Figure:
    """The figure that :func:`lvexp.report.figures.noise` writes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0, 3.4), layout="constrained")
    axes = figure.add_subplot()
    dress(axes, "Reconstruction from z + s ε, ε ~ N(0, I)", "s", "BLEU, greedy decoding")
    axes.plot(*zip(*curve, strict=True), color=VALID, marker="o", markersize=4)
    axes.set_ylim(0, max(1.08 * max(bleu for _, bleu in curve), 1.0))
    return figure
