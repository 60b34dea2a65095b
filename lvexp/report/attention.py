"""Which words of an answer the model looks at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: words and their weights
Attended = Sequence[tuple[str, float]]


def attention_figure(pictures: Sequence[tuple[str, Attended]], width: int = 88) -> Figure:
    """A picture of answers, each word on a ground as dark as its weight beside the largest of the answer."""
    from matplotlib.figure import Figure

    lines: list[list[tuple[str, float | None]]] = []
    for title, attended in pictures:
        lines += [[(title[:width], None)], []]
        most, used = max(weight for _, weight in attended), 0
        for word, weight in attended:
            if used + len(word) > width:
                lines.append([])
                used = 0
            lines[-1].append((word, weight / most))
            used += len(word) + 1
        lines.append([])
    figure = Figure(figsize=(9, 0.28 * len(lines) + 0.3))
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    axes.set_axis_off()
    axes.set_xlim(0, width + 2)
    axes.set_ylim(len(lines), -0.5)
    for row, line in enumerate(lines):
        column = 0.5
        for word, weight in line:
            ground = (
                None
                if weight is None
                else {"facecolor": (0.85, 0.37, 0.05, 0.75 * weight), "edgecolor": "none", "pad": 1.5}
            )
            axes.text(
                column, row + 0.5, word.replace("$", r"\$"), family="monospace", fontsize=9, va="center", bbox=ground,
                weight="bold" if weight is None else "normal",
            )  # fmt: skip
            column += len(word) + 1
    return figure
