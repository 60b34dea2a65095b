"""What the words that a model writes look at in their source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Alignment(NamedTuple):
    """Words of a source and of a text, and the weight of each word of the source for each of the text, [T, L]."""

    source: Sequence[str]
    text: Sequence[str]
    weights: np.ndarray


def alignment_figure(found: Sequence[Alignment]) -> Figure:
    """A heat map for each text: its words downwards, those of the source from left to right; black is 1."""
    from matplotlib.figure import Figure

    columns = 2 if len(found) > 1 else 1
    rows = -(-len(found) // columns)
    widest, longest = (max(len(getattr(one, name)) for one in found) for name in ("source", "text"))
    figure = Figure(figsize=(columns * (0.3 * widest + 1.6), rows * (0.26 * longest + 1.4)), layout="constrained")
    for number, one in enumerate(found):
        axes = figure.add_subplot(rows, columns, number + 1)
        axes.imshow(one.weights, cmap="Greys", vmin=0, vmax=1, aspect="auto")
        axes.set_xticks(
            range(len(one.source)), [_plain(word) for word in one.source], rotation=60, ha="left", fontsize=8
        )
        axes.set_yticks(range(len(one.text)), [_plain(word) for word in one.text], fontsize=8)
        axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
        for side in axes.spines.values():
            side.set_color("0.8")
    return figure


def _plain(word: str) -> str:
    """Without the marks of a byte-level vocabulary and of mathematics."""
    return word.replace("Ġ", "␣").replace("$", r"\$")
