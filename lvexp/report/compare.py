"""Finished runs side by side: mean ± sd over seeds, and their rate and distortion."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lvexp.errors import RunError
from lvexp.report.style import BEST, COLOURS, FAINT, MARKERS, QUIET, dress

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Result = Mapping[str, Any]
_LONGEST = 48  # letters of a name in the figure
#: the parts of a result that are kept
KEPT = ("run_id", "group_id", "seed", "commit", "overrides", "choices", "verdict", "seconds", "steps", "test")
#: column → key in the ``test`` part of a result, and digits
COLUMNS = {
    "NLL": ("nll", 2),
    "-ELBO": ("elbo", 2),
    "D": ("distortion", 2),
    "R": ("rate", 2),
    "MI": ("mi", 2),
    "active": ("active_units", 1),
    "BLEU": ("recon_bleu", 1),
}


def finished(*sources: Path) -> list[Result]:
    """The results below folders, in order of their names, and those kept in ``.jsonl`` files; each run once. Diverged
    runs have no figures and are left out.

    Raises :class:`RunError` if there are none.
    """
    found: dict[str, Result] = {}
    for source in sources:
        kept = source.read_text(encoding="utf-8").splitlines() if source.is_file() else ()
        lines = kept or [path.read_text(encoding="utf-8") for path in sorted(source.glob("**/result.json"))]
        results = [result for result in map(json.loads, lines) if result.get("status") != "failed"]
        found |= {result["run_id"]: result for result in results}
    if not found:
        told = ", ".join(map(str, sources))
        raise RunError(f"{told}: no finished runs found\ntry  the folder of a sweep, outputs/<name>")
    return list(found.values())


def lines(results: Iterable[Result]) -> str:
    """Results as lines of a ``.jsonl`` file, with only the parts that a comparison uses."""
    return "".join(json.dumps({key: result[key] for key in KEPT if key in result}) + "\n" for result in results)


def groups(results: Iterable[Result]) -> dict[str, list[Result]]:
    """Runs that differ only in their seed, named by the overrides that not all runs have in common."""
    by_id: dict[str, list[Result]] = {}
    for result in results:
        by_id.setdefault(result["group_id"], []).append(result)
    typed = {group_id: _typed(runs[0]) for group_id, runs in by_id.items()}
    common = set.intersection(*(set(words) for words in typed.values())) if len(typed) > 1 else set()
    named: dict[str, list[Result]] = {}
    for group_id, runs in by_id.items():
        name = " ".join(word for word in typed[group_id] if word not in common) or runs[0]["choices"]["model"]
        named[name if name not in named else f"{name} ({group_id})"] = runs
    return named


def _typed(result: Result) -> list[str]:
    quiet = (
        *("seed=", "name=", "paths.", "logger", "trainer.threads", "force=", "experiment=", "hydra"),
        "regularizer.lm_init.run=",
    )
    return [word.removeprefix("arm=") for word in result["overrides"] if not word.startswith(quiet)]


def spread(runs: Sequence[Result], key: str) -> tuple[float, float | None] | None:
    """Mean and standard deviation of a score over runs; None if a run lacks it; a single run has no deviation."""
    values = [run["test"].get(key) for run in runs]
    if not values or any(value is None for value in values):
        return None
    values = [-value for value in values] if key == "elbo" else values
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None


def markdown(named: Mapping[str, Sequence[Result]]) -> str:
    """A table in order of the NLL, with a dash for figures that do not exist."""
    lines = [
        "| run | seeds | " + " | ".join(COLUMNS) + " | seconds |",
        "|---|---|" + "---|" * (len(COLUMNS) + 1),
    ]

    def rank(item: tuple[str, Sequence[Result]]) -> float:
        found = spread(item[1], "nll")
        return float("inf") if found is None else found[0]

    for name, runs in sorted(named.items(), key=rank):
        cells = [_cell(spread(runs, key), digits) for key, digits in COLUMNS.values()]
        seconds = statistics.mean(run["seconds"] for run in runs)
        lines.append(f"| {name} | {len(runs)} | " + " | ".join(cells) + f" | {seconds:,.0f} |")
    return "\n".join(lines) + "\n"


def _cell(found: tuple[float, float | None] | None, digits: int) -> str:
    if found is None:
        return "–"
    mean, deviation = found
    return f"{mean:z.{digits}f}" + (f" ± {deviation:.{digits}f}" if deviation is not None else "")


def picture(named: Mapping[str, Sequence[Result]]) -> Figure:
    """Rate and distortion, and rate and mutual information, with a numbered point for each group that has a rate.

    In the left panel -ELBO is constant along a dashed line. In the right panel a rate on the dashed diagonal is all
    information; a point below it has paid for rate that is not used.
    """
    import numpy as np
    from matplotlib.figure import Figure

    kinds = ("rate", "distortion", "mi")
    placed = {
        name: {kind: found for kind in kinds if (found := spread(runs, kind)) is not None}
        for name, runs in named.items()
    }
    order = [name for name, at in placed.items() if "rate" in at and "distortion" in at]
    if not order:
        raise RunError("none of these runs has a rate: there is nothing to draw")
    order.sort(key=lambda name: placed[name]["rate"][0] + placed[name]["distortion"][0])
    placed = {name: placed[name] for name in order}
    informed = [name for name in order if "mi" in placed[name]]
    figure = Figure(figsize=(13.6 if informed else 9.6, max(5.6, 1.2 + 0.17 * len(order))), layout="constrained")
    left, *right = figure.subplots(1, 2 if informed else 1, squeeze=False)[0]
    dress(left, "Rate and distortion on the test set", "rate R, nats per text", "distortion D, nats per text")
    numbers = {name: number for number, name in enumerate(order, 1)}
    far = _far(placed)
    _points(left, {name: at for name, at in placed.items() if name not in far}, numbers, "distortion")
    for name in far:  # given in words, or all other points would be crowded together
        rate, distortion = (placed[name][kind][0] for kind in ("rate", "distortion"))
        told = f"{numbers[name]}  {name}  (R {rate:z.1f}, D {distortion:z.1f}: above the frame)"
        left.plot([], [], linestyle="none", label=told)
    (low, high), (bottom, top) = left.get_xlim(), left.get_ylim()
    low = min(low, 0.0)
    for bound in np.linspace(low + bottom, high + top, 12):
        left.plot([low, high], [bound - low, bound - high], color=FAINT, linewidth=0.8, linestyle="--", zorder=0)
    total = placed[order[0]]["rate"][0] + placed[order[0]]["distortion"][0]
    left.plot([low, high], [total - low, total - high], color=BEST, linewidth=0.9, linestyle="--", zorder=0)
    left.set(xlim=(low, high), ylim=(bottom, top))
    for axes in right:
        dress(axes, "Rate and what z tells of the text", "rate R, nats per text", "mutual information, nats")
        _points(axes, {name: placed[name] for name in informed}, numbers, "mi")
        axes.plot([0, high], [0, high], color=QUIET, linewidth=0.9, linestyle="--", zorder=0)
        axes.set(
            xlim=(low, high), ylim=(min(0.0, axes.get_ylim()[0]), 1.05 * max(placed[n]["mi"][0] for n in informed))
        )
    known = sorted(zip(*left.get_legend_handles_labels(), strict=True), key=lambda pair: int(pair[1].split()[0]))
    legend = figure.legend(
        [handle for handle, _ in known], [label for _, label in known], loc="outside right upper", fontsize=8,
        frameon=False, title="by −ELBO = D + R, in brackets", title_fontsize=8,
    )  # fmt: skip
    legend.set_alignment("left")
    return figure


def _far(placed: Mapping[str, Mapping[str, tuple[float, float | None]]]) -> list[str]:
    """Groups whose distortion is above the upper quartile by more than three times the interquartile range."""
    import numpy as np

    low, high = np.quantile([at["distortion"][0] for at in placed.values()], [0.25, 0.75])
    return [name for name, at in placed.items() if len(placed) > 3 and at["distortion"][0] > high + 3 * (high - low)]


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers in short: 1–3, 5, 7–8."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)


def _points(
    axes: Axes, placed: Mapping[str, Mapping[str, tuple[float, float | None]]], numbers: Mapping[str, int], up: str
) -> None:
    """A point with its number for each group, ``up`` against the rate; points that nearly coincide share one label."""
    for name, at in placed.items():
        (rate, across), (height, along) = at["rate"], at[up]
        short = name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"
        number = numbers[name]
        axes.errorbar(
            rate, height, xerr=across, yerr=along, color=COLOURS[(number - 1) % len(COLOURS)], linestyle="none",
            marker=MARKERS[(number - 1) // len(COLOURS) % len(MARKERS)], markersize=5, linewidth=0.8,
            label=f"{number}  {short}  ({rate + at['distortion'][0]:.2f})",
        )  # fmt: skip
    width, tall = (abs(edges[1] - edges[0]) for edges in (axes.get_xlim(), axes.get_ylim()))
    near: list[tuple[float, float, list[int]]] = []
    for name, at in placed.items():
        x, y = at["rate"][0], at[up][0]
        for other_x, other_y, shared in near:
            if abs(x - other_x) < 0.02 * width and abs(y - other_y) < 0.025 * tall:
                shared.append(numbers[name])
                break
        else:
            near.append((x, y, [numbers[name]]))
    for x, y, shared in near:
        axes.annotate(
            _ranges(shared), (x, y), xytext=(6, 4), textcoords="offset points", fontsize=8,
            clip_on=True,
        )  # fmt: skip
