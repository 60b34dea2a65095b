"""What the symbols of a message stand for."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lvexp.report.style import dress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST = 24  # symbols with legible names


@dataclasses.dataclass(frozen=True)
class Protocol:
    """Where each symbol occurs.

    Attributes:
        title: of the task. names: of the attributes' values.
        shares: for each position and symbol, the share of the objects with each value among those for which it is said;
            None where it never is. [positions][symbols][values]
    """

    title: str
    names: Sequence[str]
    shares: Sequence[Sequence[Sequence[float] | None]]


def protocol_figure(protocols: Sequence[Protocol], places: Sequence[str]) -> Figure:
    """The figure that :func:`lvexp.report.figures.protocol` writes: a row for each task, a panel for each position."""
    import numpy as np
    from matplotlib.figure import Figure

    names = protocols[0].names
    symbols = len(protocols[0].shares[0])
    size = (1.2 + 2.6 * len(places), 0.9 + (0.6 + 0.16 * min(symbols, _MOST) + 0.7) * len(protocols))
    figure = Figure(figsize=(min(size[0], 14.0), min(size[1], 24.0)), layout="constrained")
    grid = figure.subplots(len(protocols), len(places), squeeze=False, sharex=True)
    image = None
    for row, (protocol, axes) in enumerate(zip(protocols, grid, strict=True)):
        for place, panel, shares in zip(places, axes, protocol.shares, strict=True):
            table = np.array([[np.nan] * len(names) if share is None else share for share in shares], float)
            dress(panel, f"{protocol.title}: {place}" if place == places[0] else place, "", "")
            image = panel.imshow(table, cmap="Blues", vmin=0, vmax=1, aspect="auto")
            panel.grid(visible=False)
            if symbols <= _MOST:
                panel.set_yticks(range(symbols), [str(symbol) for symbol in range(symbols)], fontsize=7)
            panel.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
            panel.tick_params(labelbottom=row == len(protocols) - 1)
    assert image is not None
    figure.colorbar(image, ax=grid, label="share of the objects for which it is said", shrink=0.6)
    return figure
