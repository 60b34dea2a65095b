"""The curves of a training run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lvexp.report.findings import BOUND
from lvexp.report.style import BEST, TRAIN, VALID, dress
from lvexp.report.verdict import NEGLIGIBLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, float | int]


def curves_figure(history: Sequence[Row], monitor: tuple[str, str] = BOUND, unit: str = "text") -> Figure:
    """The figure that :func:`lvexp.report.figures.curves` writes."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    best, name, nats = f"val/{monitor[0]}", monitor[1], f"nats per {unit}"
    panels = [
        ("Distortion D", nats, ("train/distortion", "val/distortion")),
        ("Rate R", nats, ("train/rate", "val/rate")),
        ("−ELBO, validation", nats, (None, "val/nelbo")),
        *([] if monitor[0] in ("nelbo", "distortion") else [(f"{name}, validation", "", (None, best))]),
        ("β, weight of the rate", "", ("train/beta", None)),
        ("Active units, validation", "dimensions", (None, "val/active_units")),
        ("Values of z in use, validation", "perplexity", (None, "val/code_perplexity")),
        ("Mutual information, validation", "nats", (None, "val/mi")),
    ]
    priced = any(_series(history, key)[0] for key in ("train/rate", "val/rate"))
    drawn = []
    for title, measure, keys in panels:
        if keys == ("train/beta", None) and not priced:
            continue  # it weighs nothing
        if any(_series(history, key)[0] for key in keys):
            drawn.append((title, measure, keys))
    columns = 4 if len(drawn) > 6 else 3 if len(drawn) > 4 else 2 if len(drawn) > 1 else 1
    rows = max(1, -(-len(drawn) // columns))
    figure = Figure(figsize=(4.0 * columns, 2.9 * rows + 0.3), layout="constrained")
    smoothed = any(_series(history, key)[0] for key in ("train/distortion", "train/rate"))
    parts = ["Training, smoothed over the log entries in pale"] * smoothed + ["Validation" + " with β = 1" * priced]
    figure.suptitle("; ".join(parts), fontsize=10)
    for place, (title, measure, (train, valid)) in enumerate(drawn, 1):
        axes = figure.add_subplot(rows, columns, place)
        dress(axes, title, "step", measure)
        axes.set_xlim(0, 1.02 * max(row["step"] for row in history) + 1)  # the same in all panels
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter(_thousands)
        trained, judged = _series(history, train), _series(history, valid)
        if trained[0] and valid is None:  # set, not measured: no smoothing
            axes.plot(*trained, color=VALID, linewidth=1.8)
        elif trained[0]:
            axes.plot(*trained, color=TRAIN, linewidth=0.7, alpha=0.3)
            axes.plot(trained[0], _smooth(trained[1]), color=TRAIN, linewidth=1.8, label="train")
            _ignore_spikes(axes, trained[1], judged[1])
        if judged[0]:
            axes.plot(*judged, color=VALID, linewidth=1.5, marker="o", markersize=3.5, label="validation")
        if valid == best and judged[0]:
            _mark_best(axes, history, best)
        if len(axes.get_legend_handles_labels()[1]) > 1:
            axes.legend(fontsize=8, frameon=False)
        if valid == "val/active_units":
            axes.yaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        if measure != nats and valid != best:  # quantities with a meaningful zero
            # and whose noise about zero is irrelevant
            least = {"val/active_units": 1.0, "val/mi": NEGLIGIBLE}.get(valid or "", 0.0)
            axes.set_ylim(bottom=min(0.0, *trained[1], *judged[1]), top=max(axes.get_ylim()[1], least))
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
        color=BEST,
        label=f"best: {row[key]:z.2f} ({when})",
        zorder=3,
    )


def _series(history: Sequence[Row], key: str | None) -> tuple[list[float | int], list[float | int]]:
    """Steps and values of a metric at which it was logged and is finite."""
    found = [(row["step"], row[key]) for row in history if key is not None and math.isfinite(row.get(key, math.nan))]
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
    """Fits the axis to the middle 98 % of the log entries: a batch of very long texts must not flatten the rest."""
    ranked = sorted(train)
    if len(ranked) >= 50:
        low, high = ranked[len(ranked) // 100], ranked[-1 - len(ranked) // 100]
        low, high = min(low, *valid, high), max(high, *valid, low)
        margin = 0.06 * (high - low) or 0.1
        axes.set_ylim(low - margin, high + margin)


def _thousands(step: float, _: float | int | None) -> str:
    return f"{step / 1000:g}k" if abs(step) >= 1000 else f"{step:g}"
