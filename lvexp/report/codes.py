"""Which values of a discrete z are in use, and for which texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lvexp.report.style import VALID, dress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST = 40  # the largest number of rows or columns with legible names and numbers


def codes_figure(
    assigned: Sequence[Sequence[int]],
    usage: Sequence[Sequence[float]],
    labels: Sequence[int] | None,
    label_names: Sequence[str],
) -> Figure:
    """The figure that :func:`lvexp.report.figures.codes` writes: labels against values for one variable, or bars if
    there are no labels; variables against values for several."""
    import numpy as np
    from matplotlib.figure import Figure

    variables, values = np.asarray(usage).shape
    classes = None if labels is None or max(labels, default=-1) < 0 else np.asarray(labels)
    by_label = variables == 1 and classes is not None
    rows = len(label_names) if by_label else variables
    figure = Figure(figsize=(min(3.2 + 0.42 * values, 11.0), min(2.0 + 0.32 * rows, 9.0)), layout="constrained")
    axes = figure.add_subplot()
    if variables == 1 and classes is None:
        dress(axes, f"Values of z, {len(assigned):,} texts", "value", "share of texts")
        axes.bar(range(values), usage[0], color=VALID, width=0.8)
        return figure
    if by_label:
        assert classes is not None
        known = classes >= 0
        table = np.zeros((rows, values))
        np.add.at(table, (classes[known], np.asarray(assigned)[known, 0]), 1)
        shares = table / table.sum(1, keepdims=True).clip(min=1)
        dress(axes, f"Values of z by label, {int(known.sum()):,} texts", "value", "")
        names = [
            f"{name if len(name) <= 24 else name[:23] + '…'} ({int(n):,})"
            for name, n in zip(label_names, table.sum(1), strict=True)
        ]
    else:
        shares = np.asarray(usage)
        dress(axes, f"Values of each variable, {len(assigned):,} texts", "value", "variable")
        names = [str(number) for number in range(rows)]
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.grid(visible=False)
    figure.colorbar(image, ax=axes, label="share of the row's texts", shrink=0.9)
    if rows <= _MOST:
        axes.set_yticks(range(rows), names, fontsize=8)
    if values <= _MOST:
        axes.set_xticks(range(values))
    if values <= _MOST // 2 and rows <= _MOST // 2:
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.005:
                axes.text(
                    column,
                    row,
                    f"{share:.0%}",
                    ha="center",
                    va="center",
                    fontsize=7,
                    color="white" if share > 0.6 else "black",
                )
    return figure
