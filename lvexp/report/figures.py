"""The report's pictures. Each function takes plain numbers and writes one PNG.

They draw on figures of their own, without pyplot, so that they neither need a display nor change a notebook's state.
What a model does not have is left out, not drawn empty.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lvexp.evaluation import Evaluation

#: Var of the posterior mean from which a dimension counts as active (Burda et al. 2016)
ACTIVE = 0.01
#: Okabe & Ito 2008: told apart under every common colour blindness; their yellow is too pale for points on white
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#8C6D31")
MARKERS = ("o", "^")
TRAIN, VALID, QUIET, FAINT = "#E69F00", "#0072B2", "#A8A8A8", "#DADADA"
DPI = 150

Row = Mapping[str, float | int]


def draw(folder: str | Path, history: Sequence[Row], evaluation: Evaluation) -> list[Path]:
    """Writes all figures that a run has something for, and returns their files."""
    folder, drawn = Path(folder), []

    def path(name: str) -> Path:
        drawn.append(folder / f"{name}.png")
        return drawn[-1]

    if history:
        curves(history, path("curves"))
    rates, means = evaluation.rate_per_dimension, evaluation.means
    # a model that diverged has nothing to show here
    if rates is not None and all(map(math.isfinite, rates)):
        rate_per_dimension(rates, evaluation.mean_variance, path("rate_per_dimension"))
    if means is not None and len(means) > 1 and all(math.isfinite(value) for mean in means for value in mean):
        projection(means, evaluation.labels, evaluation.label_names, path("projection"))
    return drawn


def curves(history: Sequence[Row], path: str | Path) -> None:
    """How D, R, -ELBO, beta, active units and mutual information went over training.

    Args:
        history: rows of ``metrics.csv``: ``step``, ``epoch``, ``train/…`` and ``val/…``, each where it was logged.
        path: of the PNG.
    """
    _write(curves_figure(history), path)


def rate_per_dimension(
    rates: Sequence[float], variances: Sequence[float] | None, path: str | Path, threshold: float = ACTIVE
) -> None:
    """Each dimension's rate as a bar, the largest first, active dimensions in colour.

    Args:
        rates: mean rate of each dimension, nats.
        variances: Var_x of each dimension of the posterior mean; None where that is not known.
        path: of the PNG.
        threshold: variance above which a dimension is active.
    """
    _write(rate_figure(rates, variances, threshold), path)


def projection(
    means: Sequence[Sequence[float]],
    labels: Sequence[int] | None,
    label_names: Sequence[str],
    path: str | Path,
    lengths: Sequence[int] | None = None,
) -> None:
    """The posterior means on their first two principal components.

    Args:
        means: posterior means, [N, D].
        labels: class of each text, -1 where it is not observed; None or all -1 for a corpus without labels.
        label_names: names of the classes.
        path: of the PNG.
        lengths: tokens of each text, for the colour where there are no labels.
    """
    _write(projection_figure(means, labels, label_names, lengths), path)


# --- curves ----------------------------------------------------------------------------------------------------------


def curves_figure(history: Sequence[Row]) -> Figure:
    """The figure that :func:`curves` writes."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    bound = next((key for key in ("val/nelbo", "val/distortion") if _series(history, key)[0]), None)
    panels = [
        ("Distortion D", "nats per text", ("train/distortion", "val/distortion")),
        ("Rate R", "nats per text", ("train/rate", "val/rate")),
        ("−ELBO, validation", "nats per text", (None, "val/nelbo")),
        ("β, weight of the rate", "", ("train/beta", None)),
        ("Active units, validation", "dimensions", (None, "val/active_units")),
        ("Mutual information, validation", "nats", (None, "val/mi")),
    ]
    priced = any(_series(history, key)[0] for key in ("train/rate", "val/rate"))
    drawn = []
    for title, unit, keys in panels:
        if keys == ("train/beta", None) and not priced:
            continue  # it weighs nothing
        if any(key and _series(history, key)[0] for key in keys):
            drawn.append((title, unit, keys))
    columns = 3 if len(drawn) > 4 else 2 if len(drawn) > 1 else 1
    rows = max(1, -(-len(drawn) // columns))
    figure = Figure(figsize=(4.0 * columns, 2.9 * rows + 0.3), layout="constrained")
    title = "Training, smoothed (single log entries behind), and validation" + (" with β = 1" if priced else "")
    figure.suptitle(title, fontsize=10)
    for place, (title, unit, (train, valid)) in enumerate(drawn, 1):
        axes = figure.add_subplot(rows, columns, place)
        _dress(axes, title, "step", unit)
        axes.set_xlim(0, 1.02 * max(row["step"] for row in history) + 1)  # the same in all panels
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter(_thousands)
        both = bool(train and valid)
        if train:
            steps, values = _series(history, train)
            if both:
                axes.plot(steps, values, color=TRAIN, linewidth=0.7, alpha=0.3)
                axes.plot(steps, _smooth(values), color=TRAIN, linewidth=1.8, label="train")
                _ignore_spikes(axes, values, _series(history, valid or "")[1])
            else:
                axes.plot(steps, values, color=VALID, linewidth=1.8)
        if valid:
            steps, values = _series(history, valid)
            axes.plot(steps, values, color=VALID, linewidth=1.5, marker="o", markersize=3.5, label="validation")
            if valid == bound and values:
                _mark_best(axes, history, valid)
        if both and len(axes.get_legend_handles_labels()[1]) > 1:
            axes.legend(fontsize=8, frameon=False)
        if train == "train/beta" or valid in ("val/active_units", "val/mi"):
            axes.set_ylim(bottom=min(0.0, *_series(history, train or valid or "")[1]))
        if valid == "val/active_units":
            axes.yaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    return figure


def _mark_best(axes: Axes, history: Sequence[Row], key: str) -> None:
    row = min((row for row in history if math.isfinite(row.get(key, math.nan))), key=lambda row: row[key])
    when = f"epoch {int(row['epoch']) + 1}" if "epoch" in row else f"step {int(row['step'])}"
    axes.plot(
        [row["step"]],
        [row[key]],
        linestyle="none",
        marker="*",
        markersize=12,
        color="#D55E00",
        label=f"best: {row[key]:.2f} ({when})",
        zorder=3,
    )
    axes.legend(fontsize=8, frameon=False)


def _series(history: Sequence[Row], key: str) -> tuple[list[float | int], list[float | int]]:
    found = [(row["step"], row[key]) for row in history if math.isfinite(row.get(key, math.nan))]
    return [step for step, _ in found], [value for _, value in found]


def _smooth(values: Sequence[float | int]) -> list[float]:
    """Mean over a centred window of a fifteenth of the curve, narrower towards the ends."""
    half = max(len(values) // 30, 1)
    smooth = []
    for at in range(len(values)):
        near = min(half, at, len(values) - 1 - at)
        window = values[at - near : at + near + 1]
        smooth.append(sum(window) / len(window))
    return smooth


def _ignore_spikes(axes: Axes, train: Sequence[float | int], valid: Sequence[float | int]) -> None:
    """Fits the axis to the middle 98 % of the log entries: one batch of very long texts must not flatten the rest."""
    ranked = sorted(train)
    if len(ranked) >= 50:
        low, high = ranked[len(ranked) // 100], ranked[-1 - len(ranked) // 100]
        low, high = min(low, *valid, high), max(high, *valid, low)
        margin = 0.06 * (high - low) or 0.1
        axes.set_ylim(low - margin, high + margin)


# --- rate per dimension ----------------------------------------------------------------------------------------------


def rate_figure(rates: Sequence[float], variances: Sequence[float] | None, threshold: float = ACTIVE) -> Figure:
    """The figure that :func:`rate_per_dimension` writes."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    order = sorted(range(len(rates)), key=lambda dim: -rates[dim])
    active = [variances is not None and variances[dim] > threshold for dim in order]
    figure = Figure(figsize=(min(5.0 + 0.09 * len(order), 9.0), 3.4), layout="constrained")
    axes = figure.add_subplot()
    title = f"Rate per dimension: {sum(rates):.2f} nats in all"
    if variances is not None:
        title += f", {sum(active)} of {len(order)} dimensions active"
    _dress(axes, title, "dimension of z, largest rate first", "mean rate, nats per text")
    axes.bar(
        range(len(order)),
        [rates[dim] for dim in order],
        color=[VALID if on or variances is None else QUIET for on in active],
        width=0.8,
    )
    axes.set_xlim(-0.8, len(order) - 0.2)
    axes.grid(visible=False, axis="x")
    if len(order) <= 32:
        axes.set_xticks(range(len(order)), [str(dim) for dim in order], fontsize=8 if len(order) <= 20 else 6.5)
    else:
        axes.set_xticks([])
    # where nothing has a rate, the axis must not blow noise up
    axes.set_ylim(0, max(1.08 * max(rates, default=0.0), 0.1))
    if variances is not None:
        handles = [
            Patch(color=colour, label=f"{name}: Var(mean) {sign} {threshold:g}")
            for colour, name, sign, there in (
                (VALID, "active", ">", any(active)),
                (QUIET, "inactive", "≤", not all(active)),
            )
            if there
        ]
        axes.legend(handles=handles, fontsize=8, frameon=False, loc="upper right")
    return figure


# --- projection ------------------------------------------------------------------------------------------------------


def projection_figure(
    means: Sequence[Sequence[float]],
    labels: Sequence[int] | None,
    label_names: Sequence[str],
    lengths: Sequence[int] | None = None,
) -> Figure:
    """The figure that :func:`projection` writes."""
    import numpy as np
    from matplotlib.figure import Figure

    points, explained = _principal(np.asarray(means, dtype=float))
    classes = None if labels is None or max(labels, default=-1) < 0 else [int(label) for label in labels]
    figure = Figure(figsize=(7.4 if classes or lengths else 5.6, 5.2), layout="compressed")
    axes = figure.add_subplot()
    shown = [f"component {axis} ({share:.0%} of the variance)" for axis, share in enumerate(explained, 1)]
    _dress(axes, f"Posterior means of {len(points):,} texts, principal components", *shown)
    style: dict[str, Any] = {"s": 11 if len(points) > 500 else 22, "alpha": 0.7, "linewidths": 0}
    if classes is not None:
        _scatter_classes(axes, points, classes, label_names, style)
    elif lengths is not None:
        dots = axes.scatter(*points.T, c=list(lengths), cmap="viridis", **style)
        figure.colorbar(dots, ax=axes, label="tokens", shrink=0.8)
    else:
        axes.scatter(*points.T, color=VALID, **style)
    # Not narrower than three times the deviation from which a dimension is active: a collapsed posterior is then the
    # dot it is, and not noise at full size.
    half = max(1.05 * float(np.abs(points).max(initial=0.0)), 3 * ACTIVE**0.5)
    axes.set_xlim(-half, half)
    axes.set_ylim(-half, half)
    axes.set_aspect("equal")
    return figure


def _principal(means: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """Coordinates on the first two principal components, and their shares of the variance."""
    import numpy as np
    from sklearn.decomposition import PCA

    if means.shape[1] == 1:  # a line: the second axis is flat
        means = np.hstack([means, np.zeros_like(means)])
    # the full solver is exact, hence the same picture on every machine
    pca = PCA(n_components=2, svd_solver="full")
    with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0 where all means are equal
        points = pca.fit_transform(means)
    return points, [float(share) for share in np.nan_to_num(pca.explained_variance_ratio_)]


def _scatter_classes(
    axes: Axes, points: np.ndarray, classes: Sequence[int], names: Sequence[str], style: dict[str, Any]
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
    for marker in ("", *MARKERS):  # quiet points first, below the others
        rows = np.flatnonzero(markers == marker)
        # in no order, or the last class would lie above all others
        rows = np.random.default_rng(0).permutation(rows)
        if len(rows):
            axes.scatter(*points[rows].T, c=colours[rows].tolist(), marker=marker or "o", **style)
    axes.legend(
        handles=handles,
        title="label (texts)",
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


# --- common ----------------------------------------------------------------------------------------------------------


def _dress(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(visible=True, color="#E6E6E6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _thousands(step: float, _: int) -> str:
    return f"{step / 1000:g}k" if abs(step) >= 1000 else f"{step:g}"


def _write(figure: Figure, path: str | Path) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI, format="png", facecolor="white")
