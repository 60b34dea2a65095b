"""The positions of texts in the space of z."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lvexp.report.style import ACTIVE, COLOURS, FAINT, MARKERS, QUIET, VALID, dress

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def projection_figure(
    means: Sequence[Sequence[float]],
    labels: Sequence[int] | None,
    label_names: Sequence[str],
    unit: str = "text",
) -> Figure:
    """The figure that :func:`lvexp.report.figures.projection` writes."""
    import numpy as np

    points, explained = principal(np.asarray(means, dtype=float))
    shown = [f"component {axis} ({share:.0%} of the variance)" for axis, share in enumerate(explained, 1)]
    title = f"Posterior means of {len(points):,} {unit}s, principal components"
    # At least three times the deviation from which a dimension is active, so that a collapsed posterior appears as a
    # dot and its noise is not magnified.
    return scatter_figure(points, labels, label_names, title, shown, least=3 * ACTIVE**0.5, unit=unit)


def scatter_figure(
    points: np.ndarray,
    labels: Sequence[int] | None,
    label_names: Sequence[str],
    title: str,
    axes_labels: Sequence[str] = ("", ""),
    least: float = 0.0,
    unit: str = "text",
) -> Figure:
    """Texts as ``points``, [N, 2], coloured by label; the axes extend at least to ``least``."""
    import numpy as np
    from matplotlib.figure import Figure

    classes = None if labels is None or max(labels, default=-1) < 0 else [int(label) for label in labels]
    figure = Figure(figsize=(7.4 if classes else 5.6, 5.2), layout="compressed")
    axes = figure.add_subplot()
    dress(axes, title, *axes_labels)
    style: dict[str, Any] = {"s": 11 if len(points) > 500 else 22, "alpha": 0.7, "linewidths": 0}
    if classes is not None:
        _scatter_classes(axes, points, classes, label_names, style, unit)
    else:
        axes.scatter(*points.T, color=VALID, **style)
    half = max(1.05 * float(np.abs(points).max(initial=0.0)), least)
    axes.set_xlim(-half, half)
    axes.set_ylim(-half, half)
    axes.set_aspect("equal")
    return figure


def principal(means: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """Coordinates on the first two principal components, and their shares of the variance."""
    import numpy as np
    from sklearn.decomposition import PCA

    if means.shape[1] == 1:  # on a line: the second axis is flat
        means = np.hstack([means, np.zeros_like(means)])
    # the full solver is exact, so the figure is the same on every machine
    pca = PCA(n_components=2, svd_solver="full")
    with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0 if all means are equal
        points = pca.fit_transform(means)
    return points, [float(share) for share in np.nan_to_num(pca.explained_variance_ratio_)]


def _scatter_classes(
    axes: Axes, points: np.ndarray, classes: Sequence[int], names: Sequence[str], style: dict[str, Any], unit: str
) -> None:
    import numpy as np
    from matplotlib.lines import Line2D

    counts = collections.Counter(label for label in classes if label >= 0)
    looks = [(colour, marker) for marker in MARKERS for colour in COLOURS]
    common = [label for label, _ in counts.most_common()]
    kept, rest = (common, []) if len(common) <= len(looks) else (common[: len(looks)], common[len(looks) :])
    look = dict(zip(sorted(kept), looks, strict=False))
    unlabelled = len(classes) - sum(counts.values())

    def line(colour: str, marker: str, text: str) -> Line2D:
        return Line2D([], [], color=colour, marker=marker, linestyle="none", markersize=6, label=text)

    handles = [line(*look[label], f"{_name(names, label)} ({counts[label]:,})") for label in sorted(kept)]
    if rest:
        handles.append(line(QUIET, "o", f"{len(rest)} rarer ({sum(counts[label] for label in rest):,})"))
    if unlabelled:
        handles.append(line(FAINT, "o", f"no label ({unlabelled:,})"))
    colours = np.array([look[label][0] if label in look else QUIET if label >= 0 else FAINT for label in classes])
    markers = np.array([look[label][1] if label in look else "" for label in classes])
    for marker in ("", *MARKERS):  # pale points first, below the others
        rows = np.flatnonzero(markers == marker)
        # in random order, or the last class would cover the others
        rows = np.random.default_rng(0).permutation(rows)
        if len(rows):
            axes.scatter(*points[rows].T, c=colours[rows].tolist(), marker=marker or "o", **style)
    axes.legend(
        handles=handles,
        title=f"label ({unit}s)",
        fontsize=8,
        title_fontsize=8,
        frameon=False,
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        alignment="left",
    )


def _name(names: Sequence[str], label: int) -> str:
    name = names[label] if label < len(names) else f"label {label}"
    return name if len(name) <= 28 else name[:27] + "…"
