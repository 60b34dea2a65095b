"""Finished runs side by side: mean ± sd over seeds, and where they lie between rate and distortion."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lvexp.errors import RunError
from lvexp.report.style import BEST, COLOURS, FAINT, dress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Result = Mapping[str, Any]
_LONGEST = 48  # letters of a name in the picture
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


def finished(folder: Path) -> list[Result]:
    """The results below ``folder``, in order of their names. Raises :class:`RunError` where there are none."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("**/result.json"))]
    if not found:
        raise RunError(f"{folder}: no finished run lies below it\ntry  the folder of a sweep, outputs/<name>")
    return found


def groups(results: Iterable[Result]) -> dict[str, list[Result]]:
    """Runs that differ in nothing but their seed, under what was typed for them and not for all others too."""
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
    quiet = ("seed=", "name=", "paths.", "logger", "trainer.threads", "force=", "experiment=")
    return [word for word in result["overrides"] if not word.startswith(quiet)]


def spread(runs: Sequence[Result], key: str) -> tuple[float, float | None] | None:
    """Mean and standard deviation over runs of a score; None where one of them lacks it, no deviation of one run."""
    values = [run["test"].get(key) for run in runs]
    if not values or any(value is None for value in values):
        return None
    values = [-value for value in values] if key == "elbo" else values
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None


def markdown(named: Mapping[str, Sequence[Result]]) -> str:
    """A table in the order of the NLL; figures that do not exist are a dash."""
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
    return f"{mean:.{digits}f}" + (f" ± {deviation:.{digits}f}" if deviation is not None else "")


def picture(named: Mapping[str, Sequence[Result]]) -> Figure:
    """Distortion against rate, a numbered point for each group with a rate; on a dashed line -ELBO is the same."""
    import numpy as np
    from matplotlib.figure import Figure

    placed = {
        name: (rate, distortion)
        for name, runs in named.items()
        if (rate := spread(runs, "rate")) and (distortion := spread(runs, "distortion"))
    }
    if not placed:
        raise RunError("none of these runs has a rate: there is nothing to draw")
    order = sorted(placed, key=lambda name: sum(part[0] for part in placed[name]))
    figure = Figure(figsize=(9.6, 5.6), layout="constrained")
    axes = figure.add_subplot()
    dress(axes, "Rate and distortion on the test set", "rate R, nats per text", "distortion D, nats per text")
    for number, name in enumerate(order, 1):
        (rate, rate_sd), (distortion, distortion_sd) = placed[name]
        colour = COLOURS[(number - 1) % len(COLOURS)]
        short = name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"
        axes.errorbar(
            rate, distortion, xerr=rate_sd, yerr=distortion_sd, color=colour, marker="o", markersize=5,
            linewidth=0.8, linestyle="none", label=f"{number}  {short}  ({rate + distortion:.2f})",
        )  # fmt: skip
        axes.annotate(str(number), (rate, distortion), xytext=(5, 4), textcoords="offset points", fontsize=8)
    left, right = axes.get_xlim()
    low, high = axes.get_ylim()
    left = min(left, 0.0)
    for bound in np.linspace(left + low, right + high, 12):
        axes.plot([left, right], [bound - left, bound - right], color=FAINT, linewidth=0.8, linestyle="--", zorder=0)
    best = placed[order[0]]
    total = best[0][0] + best[1][0]
    axes.plot([left, right], [total - left, total - right], color=BEST, linewidth=0.9, linestyle="--", zorder=0)
    axes.set_xlim(left, right)
    axes.set_ylim(low, high)
    legend = figure.legend(
        loc="outside right upper", fontsize=8, frameon=False, title="by −ELBO = D + R, in brackets", title_fontsize=8
    )
    legend.set_alignment("left")
    return figure
