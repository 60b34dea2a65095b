"""Groups of runs in the plane: rate and distortion, rate and mutual information."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lvexp.errors import RunError
from lvexp.report.columns import spread
from lvexp.report.compare import Table
from lvexp.report.style import BEST, COLOURS, FAINT, QUIET, dress

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LONGEST = 44  # letters in a line of the key
_SIZE = 8  # of numbers and key, points
#: points: those nearer to each other than this share a label; labels farther away than this get a line
_NEAR, _LEASH = 5.0, 11.0
#: inches that a line of the key takes
_LINE = 0.172
#: groups that all have a number and a name; of more, only so many have: those of lowest -ELBO at their rate
_MOST, _NAMED = 60, 24


@dataclass(frozen=True)
class _Place:
    """A group in the plane: mean and deviation of each of ``rate``, ``distortion`` and, if it has one, ``mi``."""

    number: int
    name: str
    colour: str
    at: Mapping[str, tuple[float, float | None]]


def priced(table: Table) -> bool:
    """Whether a group has a rate and a distortion, and so a place in the picture."""
    return bool(_placed(table))


def picture(table: Table, named: bool = False) -> Figure:
    """Rate and distortion, and rate and mutual information, with a numbered point for each group that has a rate and a
    key beside. Numbers, not colours, tell the groups apart; up to eight have a colour as well. Of more than 60 groups,
    24 are numbered: in order of rate, these are cut into as many parts, and the lowest -ELBO of each is named.

    In the left panel -ELBO is constant along a dashed line. In the right panel a rate on the dashed diagonal is all
    information; a point below it has paid for rate that is not used.

    Args:
        table: of one corpus. named: whether the corpus is named, above the key.

    Raises:
        RunError: no group has a rate.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not (places := _placed(table)):
        raise RunError("none of these runs has a rate: there is nothing to draw")
    informed = [place for place in places if "mi" in place.at]
    far = _far(places)
    framed = [place for place in places if place.number not in far]
    keyed = _keyed(places, framed)
    told = [_told(place, place.number in far) for place in keyed]
    title = [*(textwrap.wrap(table.corpus, _LONGEST) if named else []), *_heading(places, keyed, far)]
    height = max(5.2, 1.0 + _LINE * (len(title) - 1 + sum(text.count("\n") + 1 for text in told)))
    figure = Figure(figsize=(13.6 if informed else 9.6, min(height, 9.5)), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    left, *right = figure.subplots(1, 2 if informed else 1, squeeze=False)[0]
    rate = f"rate R, nats per {table.unit}"
    dress(left, "Rate and distortion on the test set", rate, f"distortion D, nats per {table.unit}")
    numbers = {place.number for place in keyed}
    _points(left, framed, "distortion", numbers)
    _bounds(left, places[0])
    labelled = [(left, framed, "distortion")]
    for axes in right:
        dress(axes, f"Rate and what z tells of the {table.unit}", rate, "mutual information, nats")
        _points(axes, informed, "mi", numbers)
        low, high = min(0.0, axes.get_xlim()[0]), axes.get_xlim()[1]
        top = 1.08 * max(max(place.at["mi"][0] + (place.at["mi"][1] or 0.0) for place in informed), 0.05)
        axes.set(xlim=(low, high), ylim=(min(-0.08 * top, axes.get_ylim()[0]), top))
        axes.plot([0, min(high, top)], [0, min(high, top)], color=QUIET, linewidth=0.9, linestyle="--", zorder=0)
        labelled.append((axes, informed, "mi"))
    _key(figure, keyed, told, "\n".join(title), few=len(places) <= len(COLOURS))
    figure.draw_without_rendering()  # the layout decides where the points are
    for axes, shown, up in labelled:
        _label(axes, canvas.get_renderer(), shown, up, numbers)
    return figure


def _placed(table: Table) -> list[_Place]:
    """The groups with a rate and a distortion, numbered in order of their -ELBO."""
    kinds = ("rate", "distortion", "mi")
    found = [
        (group.name, {kind: known for kind in kinds if (known := spread(group.runs, kind)) is not None})
        for group in table.groups
    ]
    found = [(name, at) for name, at in found if {"rate", "distortion"} <= at.keys()]
    found.sort(key=lambda pair: pair[1]["rate"][0] + pair[1]["distortion"][0])
    few = len(found) <= len(COLOURS)
    return [
        _Place(number, name, COLOURS[number - 1] if few else COLOURS[0], at)
        for number, (name, at) in enumerate(found, 1)
    ]


def _far(places: Sequence[_Place]) -> set[int]:
    """Numbers of the groups whose distortion is above the upper quartile by more than three times the interquartile
    range: they are given in words, or all other points would be crowded together."""
    import numpy as np

    low, high = np.quantile([place.at["distortion"][0] for place in places], [0.25, 0.75])
    most = high + 3 * (high - low)
    return {place.number for place in places if len(places) > 3 and place.at["distortion"][0] > most}


def _keyed(places: Sequence[_Place], framed: Sequence[_Place]) -> list[_Place]:
    """The groups that are named: all, or of very many the lowest -ELBO of each part of them, in order of rate."""
    import numpy as np

    if len(places) <= _MOST:
        return list(places)
    parts = np.array_split(sorted(range(len(framed)), key=lambda at: framed[at].at["rate"][0]), _NAMED)
    return [framed[at] for at in sorted(min(part) for part in parts)]  # their order is that of -ELBO


def _heading(places: Sequence[_Place], keyed: Sequence[_Place], far: set[int]) -> list[str]:
    """What the key is in order of and, if it does not name all groups, how many there are."""
    if len(keyed) == len(places):
        return ["by −ELBO = D + R, in brackets"]
    above = f"; {len(far):,} above the frame" if far else ""
    told = f"{len(keyed)} of {len(places):,} groups, the best at their rate, by −ELBO = D + R, in brackets{above}"
    return textwrap.wrap(told, _LONGEST)


def _told(place: _Place, far: bool) -> str:
    """A line of the key, and more where the name is long."""
    rate, distortion = place.at["rate"][0], place.at["distortion"][0]
    total = f"{rate + distortion:.2f}" + (f"; D {distortion:.1f}, above the frame" if far else "")
    name = "\n".join(textwrap.wrap(place.name, _LONGEST) or [""])
    return f"{name}  ({total})"


def _bounds(axes: Axes, best: _Place) -> None:
    """Lines along which -ELBO is constant, one of them through the best group."""
    import numpy as np

    (low, high), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    low = min(low, 0.0)
    for bound in np.linspace(low + bottom, high + top, 12):
        axes.plot([low, high], [bound - low, bound - high], color=FAINT, linewidth=0.8, linestyle="--", zorder=0)
    total = best.at["rate"][0] + best.at["distortion"][0]
    axes.plot([low, high], [total - low, total - high], color=BEST, linewidth=0.9, linestyle="--", zorder=0)
    axes.set(xlim=(low, high), ylim=(bottom, top))


def _points(axes: Axes, places: Sequence[_Place], up: str, numbers: Container[int]) -> None:
    """Points with bars of deviations; without bars and pale where they have no number."""
    others = [place for place in places if place.number not in numbers]
    if others:
        across, along = ([place.at[kind][0] for place in others] for kind in ("rate", up))
        axes.plot(across, along, linestyle="none", marker="o", markersize=2.5, color=QUIET, markeredgewidth=0)
    for place in (place for place in places if place.number in numbers):
        (rate, across), (height, along) = place.at["rate"], place.at[up]
        axes.errorbar(
            rate, height, xerr=across, yerr=along, color=place.colour, linestyle="none", marker="o", markersize=4.5,
            markeredgecolor="white", markeredgewidth=0.5, ecolor=(place.colour, 0.35), elinewidth=1.0,
        )  # fmt: skip


def _key(figure: Figure, places: Sequence[_Place], told: Sequence[str], title: str, few: bool) -> None:
    """Number and name of each group, in more than one column if one would be higher than the figure."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="none", marker="o" if few else "", markersize=4.5, color=place.colour)
        for place in places
    ]
    height = figure.get_figheight() - 0.6 - _LINE * title.count("\n")
    legend = figure.legend(
        handles, [f"{place.number}  {text}" for place, text in zip(places, told, strict=True)],
        loc="outside right upper", fontsize=_SIZE, frameon=False, title=title,
        title_fontsize=_SIZE, alignment="left", handlelength=1.0 if few else 0.0, handletextpad=0.4 if few else 0.0,
        ncols=math.ceil(_LINE * sum(text.count("\n") + 1 for text in told) / height),
    )  # fmt: skip
    legend.set_alignment("left")


def _label(axes: Axes, renderer: Any, places: Sequence[_Place], up: str, numbers: Container[int]) -> None:
    """The number of each point that is to have one beside it; points that nearly coincide share a label. A label takes
    the nearest place where it hides no point and no other label, and a line leads to it if that is not next to its
    point.

    All lengths are in points. A box is left, bottom, right, top.
    """
    import numpy as np
    from matplotlib.patheffects import withStroke

    scale = 72.0 / axes.get_figure(root=True).dpi  # type: ignore[union-attr]
    on_page = scale * axes.transData.transform([(place.at["rate"][0], place.at[up][0]) for place in places])
    at = {place.number: (float(x), float(y)) for place, (x, y) in zip(places, on_page, strict=True)}
    numbered = [place for place in places if place.number in numbers]
    shared: dict[int, list[int]] = {}
    for number in (place.number for place in numbered):
        for first in shared:
            if math.dist(at[number], at[first]) < _NEAR:
                shared[first].append(number)
                break
        else:
            shared[number] = [number]
    frame = scale * np.array(axes.get_window_extent().extents) + np.array([3, 3, -3, -3])
    points = np.array(list(at.values()))
    dots = np.concatenate([points - 3, points + 3], axis=1)
    bars = np.array([_bar(axes, place, up, scale, upright) for place in numbered for upright in (False, True)])
    taken, leads = np.empty((0, 4)), np.empty((0, 4))
    halo = withStroke(linewidth=2.0, foreground="white")

    def crowd(number: int) -> int:
        return -sum(math.dist(at[number], other) < 40 for other in at.values())

    for number in sorted(shared, key=crowd):
        x, y = at[number]
        across, along = axes.transData.inverted().transform((x / scale, y / scale))
        point = (float(across), float(along))
        drawn = axes.annotate(
            textwrap.fill(_ranges(shared[number]), 16), point, xytext=(0, 0), textcoords="offset points",
            fontsize=_SIZE, ha="center", va="center", zorder=4, path_effects=[halo],
        )  # fmt: skip
        drawn.set_in_layout(False)
        extent = drawn.get_window_extent(renderer)
        half = np.array([scale * extent.width / 2 + 1.0, scale * extent.height / 2 + 0.5])
        offsets, gaps = _around(half)
        centres = offsets + np.array([x, y])
        boxes = np.concatenate([centres - half, centres + half], axis=1)
        steps = _steps(np.array([x, y]), centres)
        led = gaps > _LEASH
        near = (abs(points - (x, y)) < 2 * half + gaps.max() + 2).all(1)  # others cannot be under a label or beside it
        others = points[near & [point not in shared[number] for point in at]]
        own = _distance(boxes, np.array([[x, y]]))[:, 0]
        mistaken = _distance(boxes, others).min(1, initial=math.inf) < own + 1.5
        cost = (
            gaps
            + 60 * ((boxes[:, :2] < frame[:2]) | (boxes[:, 2:] > frame[2:])).any(1)
            + 15 * (mistaken & ~led)  # for the label of another point, which is as near
            + 3.0 * _overlap(boxes, taken)
            + 2.0 * _overlap(boxes, dots[near])
            + 0.3 * _overlap(boxes, np.concatenate([bars, leads]))
            + 2.0 * led * _overlap(steps.reshape(-1, 4), taken).reshape(len(boxes), -1).sum(1)
        )
        best = int(cost.argmin())
        drawn.set_position((float(offsets[best, 0]), float(offsets[best, 1])))
        taken = np.concatenate([taken, boxes[best : best + 1]])
        if led[best]:
            leads = np.concatenate([leads, steps[best]])
            shrink = min(float(half[1]) + 1, 8.0)
            line = {"arrowstyle": "-", "color": QUIET, "linewidth": 0.7, "shrinkA": shrink, "shrinkB": 2.5}
            lead = axes.annotate("", point, xytext=drawn.get_position(), textcoords="offset points", arrowprops=line)
            lead.set_in_layout(False)


def _around(half: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offsets of a label's centre from its point, and the gap between the two, in order of preference: near ones, and
    from the upper right on to both sides."""
    import numpy as np

    turns = np.arange(24)
    angles = np.pi / 4 + np.pi / 12 * ((turns + 1) // 2) * np.where(turns % 2, -1, 1)
    gaps = np.array([2.5, 5, 8, 12, 16, 21, 27, 34, 42, 52, 64])
    ways = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    offsets = ways[None] * (half + gaps[:, None, None])
    return offsets.reshape(-1, 2), (gaps[:, None] + 0.02 * turns).reshape(-1)


def _steps(start: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Small boxes along lines, without their first and last parts: (lines, steps, 4)."""
    import numpy as np

    middle = start + np.linspace(0.2, 0.7, 6)[:, None] * (ends - start)[:, None]
    return np.concatenate([middle - 1.5, middle + 1.5], axis=-1)


def _overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The area that each box has in common with all the others."""
    import numpy as np

    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return (high - low).clip(min=0).prod(-1).sum(1)


def _distance(boxes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """From each box to each point."""
    import numpy as np

    beyond = np.maximum(boxes[:, None, :2] - points, points - boxes[:, None, 2:]).clip(min=0)
    return np.hypot(beyond[..., 0], beyond[..., 1])


def _bar(axes: Axes, place: _Place, up: str, scale: float, upright: bool) -> tuple[float, float, float, float]:
    """The box of an error bar."""
    (x, across), (y, along) = place.at["rate"], place.at[up]
    half = (0.0, along or 0.0) if upright else (across or 0.0, 0.0)
    (left, bottom), (right, top) = (_on_page(axes, x + sign * half[0], y + sign * half[1], scale) for sign in (-1, 1))
    return left - 0.5, bottom - 0.5, right + 0.5, top + 0.5


def _on_page(axes: Axes, x: float, y: float, scale: float) -> tuple[float, float]:
    """Where a point of the data lies on the page, in points."""
    across, along = axes.transData.transform((x, y))
    return scale * float(across), scale * float(along)


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers in short: 1–3, 5, 7–8."""
    runs = []
    for _, found in itertools.groupby(enumerate(sorted(numbers)), lambda pair: pair[1] - pair[0]):
        part = [number for _, number in found]
        runs.append(str(part[0]) if len(part) == 1 else f"{part[0]}–{part[-1]}")
    return ", ".join(runs)
