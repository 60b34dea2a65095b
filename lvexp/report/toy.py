"""Points in the plane: what a model makes of them, and what it takes to estimate log p(x)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lvexp.report.style import BEST, COLOURS, QUIET, TRAIN, VALID, dress

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Place = Sequence[float]


@dataclasses.dataclass(frozen=True)
class Plane:
    """A model of points in the plane.

    Attributes:
        points: of the test set. labels: the class of each.
        means: the mean of q(z|x) of each; empty if z has not two dimensions or they are not known.
        samples: points drawn from the model.
        lines: of a grid in the plane of z. images: f(z) along each of them.
    """

    points: Sequence[Place]
    labels: Sequence[int]
    samples: Sequence[Place]
    means: Sequence[Place] = ()
    lines: Sequence[Sequence[Place]] = ()
    images: Sequence[Sequence[Place]] = ()


@dataclasses.dataclass(frozen=True)
class Curve:
    """Estimates of log p(x) by number of draws.

    Attributes:
        draws: numbers of draws. mean: of the estimates. error: root mean squared error. needed: draws that each point
            needs for a standard error of ``target`` nats.
    """

    draws: Sequence[int]
    mean: Sequence[float]
    error: Sequence[float]
    needed: Sequence[float]


def plane_figure(plane: Plane) -> Figure:
    """The figure that :func:`lvexp.report.figures.plane` writes."""
    import numpy as np
    from matplotlib.figure import Figure

    panels = 4 if len(plane.means) else 2
    figure = Figure(figsize=(3.4 * panels, 3.6), layout="constrained")
    axes = figure.subplots(1, panels)
    colours = [COLOURS[label % len(COLOURS)] for label in plane.labels]
    limit = 1.1 * float(np.abs(np.asarray(plane.points)).max())
    dress(axes[0], f"Data: {len(plane.points):,} test points", "x₁", "x₂")
    axes[0].scatter(*np.asarray(plane.points).T, c=colours, s=6, linewidths=0)
    dress(axes[1], "Model: z ~ p(z), x ~ p(x|z)", "x₁", "")
    axes[1].scatter(*np.asarray(plane.samples).T, color=QUIET, s=6, linewidths=0)
    if panels == 4:
        dress(axes[2], "f(z) along the lines of a grid", "x₁", "")
        _lines(axes[2], plane.images)
        dress(axes[3], "The grid, and the means of q(z|x)", "z₁", "z₂")
        _lines(axes[3], plane.lines)
        axes[3].scatter(*np.asarray(plane.means).T, c=colours, s=6, linewidths=0, zorder=3)
        axes[3].set_aspect("equal")
    for panel in axes[:3]:
        panel.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
    return figure


def _lines(axes: Axes, lines: Sequence[Sequence[Place]]) -> None:
    """The first half of the lines in one colour, the others in another."""
    import numpy as np

    for number, line in enumerate(lines):
        axes.plot(*np.asarray(line).T, color=VALID if number < len(lines) / 2 else TRAIN, linewidth=0.8)


def estimates_figure(curves: Mapping[str, Curve], truth: float, target: float) -> Figure:
    """The figure that :func:`lvexp.report.figures.estimates` writes."""
    import numpy as np
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.6, 3.8), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    dress(left, "Mean of the estimates of log p(x)", "draws of z", "nats per point")
    dress(middle, "Root mean squared error", "draws of z", "nats")
    dress(right, f"Points with a standard error below {target:g} nats", "draws of z", "share")
    for colour, (name, curve) in zip((VALID, TRAIN), curves.items(), strict=False):
        left.plot(curve.draws, curve.mean, color=colour, label=name, marker="o", markersize=3)
        middle.plot(curve.draws, curve.error, color=colour, label=name, marker="o", markersize=3)
        needed = np.sort(np.maximum(curve.needed, 1.0))
        right.step(needed, np.arange(1, len(needed) + 1) / len(needed), color=colour, label=name, where="post")
    left.axhline(truth, color=BEST, linestyle="--", linewidth=1, label="quadrature")
    left.set_ylim(truth - 6, truth + 1)
    middle.axhline(target, color=QUIET, linestyle="--", linewidth=1)
    middle.set_yscale("log")
    for panel in (left, middle, right):
        panel.set_xscale("log")
        panel.legend(fontsize=8, frameon=False)
    return figure
