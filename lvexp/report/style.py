"""The common style of the report's figures: colours, and axes without clutter."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Okabe & Ito 2008: distinguishable with every common colour blindness; their yellow is too pale for points on white
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#8C6D31")
MARKERS = ("o", "^")
TRAIN, VALID, BEST, QUIET, FAINT = "#E69F00", "#0072B2", "#D55E00", "#A8A8A8", "#DADADA"

#: variance of the posterior mean above which a dimension is active (Burda et al. 2016)
ACTIVE = 0.01


def dress(axes: Axes, title: str, x: str, y: str) -> None:
    """Title, axis labels with units, a light grid, no frame."""
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(visible=True, color="#E6E6E6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
