"""The report's pictures. Each function takes plain numbers and writes one PNG.

They draw on figures of their own, without pyplot, so that they neither need a display nor change a notebook's state.
What a model does not have is left out, not drawn empty.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lvexp.report.alignment import Alignment, alignment_figure
from lvexp.report.attention import Attended as Attended
from lvexp.report.attention import attention_figure
from lvexp.report.codes import codes_figure
from lvexp.report.curves import Row, curves_figure
from lvexp.report.findings import BOUND
from lvexp.report.noise import noise_figure
from lvexp.report.projection import projection_figure, scatter_figure
from lvexp.report.protocol import Protocol, protocol_figure
from lvexp.report.style import ACTIVE, QUIET, VALID, dress
from lvexp.report.toy import Curve, Plane, estimates_figure, plane_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 150


def draw(
    folder: str | Path,
    history: Sequence[Row],
    pictures: Mapping[str, Callable[[Path], None]],
    monitor: tuple[str, str],
    unit: str = "text",
) -> list[Path]:
    """Writes the curves of the training and all pictures of the report, and returns their files."""
    folder, drawn = Path(folder), []
    folder.mkdir(parents=True, exist_ok=True)
    if history:
        curves(history, folder / "curves.png", monitor, unit)
        drawn.append(folder / "curves.png")
    for stem, picture in pictures.items():
        picture(folder / f"{stem}.png")
        drawn.append(folder / f"{stem}.png")
    return drawn


def curves(history: Sequence[Row], path: str | Path, monitor: tuple[str, str] = BOUND, unit: str = "text") -> None:
    """How D, R, -ELBO, beta, active units and mutual information went over training.

    Args:
        history: rows of ``metrics.csv``: ``step``, ``epoch``, ``train/…`` and ``val/…``, each where it was logged.
        path: of the PNG.
        monitor: the model's: its best value is marked. unit: what one x is called.
    """
    _write(curves_figure(history, monitor, unit), path)


def rate_per_dimension(
    rates: Sequence[float],
    variances: Sequence[float] | None,
    path: str | Path,
    threshold: float = ACTIVE,
    unit: str = "text",
) -> None:
    """Each dimension's rate as a bar, the largest first, active dimensions in colour.

    Args:
        rates: mean rate of each dimension, nats.
        variances: Var_x of each dimension of the posterior mean; None where that is not known.
        path: of the PNG.
        threshold: variance above which a dimension is active.
        unit: what one x is called.
    """
    _write(rate_figure(rates, variances, threshold, unit), path)


def projection(
    means: Sequence[Sequence[float]],
    labels: Sequence[int] | None,
    label_names: Sequence[str],
    path: str | Path,
    unit: str = "text",
) -> None:
    """The posterior means on their first two principal components.

    Args:
        means: posterior means, [N, D].
        labels: class of each text, -1 where it is not observed; None or all -1 for a corpus without labels.
        label_names: names of the classes.
        path: of the PNG.
        unit: what one x is called.
    """
    _write(projection_figure(means, labels, label_names, unit), path)


def codes(
    assigned: Sequence[Sequence[int]],
    usage: Sequence[Sequence[float]],
    labels: Sequence[int] | None,
    label_names: Sequence[str],
    path: str | Path,
) -> None:
    """Which values of a discrete z the texts have, by label where there is one variable.

    Args:
        assigned: most probable value of each variable, [N, variables].
        usage: share of texts with each value, [variables, K].
        labels: class of each text, -1 where it is not observed; None for a corpus without labels.
        label_names: names of the classes.
        path: of the PNG.
    """
    _write(codes_figure(assigned, usage, labels, label_names), path)


def scatter(
    points: Sequence[Sequence[float]],
    labels: Sequence[int] | None,
    label_names: Sequence[str],
    title: str,
    path: str | Path,
) -> None:
    """Texts as points of a plane, by label.

    Args:
        points: two numbers for each text.
        labels: class of each, -1 where it is not observed; None for a corpus without labels.
        label_names: names of the classes.
        title: of the picture. path: of the PNG.
    """
    import numpy as np

    _write(scatter_figure(np.asarray(points, dtype=float), labels, label_names, title), path)


def attention(answers: Sequence[tuple[str, Attended]], path: str | Path) -> None:
    """Answers, each word on a ground as dark as its weight.

    Args:
        answers: the question, and the words of its answer with their weights. path: of the PNG.
    """
    _write(attention_figure(answers), path)


def alignment(found: Sequence[Alignment], path: str | Path) -> None:
    """What each word of some texts looks at in the source.

    Args:
        found: words and weights. path: of the PNG.
    """
    _write(alignment_figure(found), path)


def protocol(found: Sequence[Protocol], places: Sequence[str], path: str | Path) -> None:
    """What each symbol at each position of a message stands for.

    Args:
        found: of each task. places: names of the positions. path: of the PNG.
    """
    _write(protocol_figure(found, places), path)


def plane(found: Plane, path: str | Path) -> None:
    """Points in the plane, points drawn from the model, f(z) along the lines of a grid, and posterior means.

    Args:
        found: what to draw. path: of the PNG.
    """
    _write(plane_figure(found), path)


def estimates(curves: Mapping[str, Curve], truth: float, target: float, path: str | Path) -> None:
    """Estimates of log p(x) and their errors by number of draws.

    Args:
        curves: where z is drawn from → estimates. truth: log p(x) by quadrature, nats per point.
        target: the standard error for which draws are counted. path: of the PNG.
    """
    _write(estimates_figure(curves, truth, target), path)


def noise(curve: Sequence[tuple[float, float]], path: str | Path) -> None:
    """BLEU of reconstruction under growing noise on z.

    Args:
        curve: standard deviation of the noise, and BLEU. path: of the PNG.
    """
    _write(noise_figure(curve), path)


def rate_figure(
    rates: Sequence[float], variances: Sequence[float] | None, threshold: float = ACTIVE, unit: str = "text"
) -> Figure:
    """The figure that :func:`rate_per_dimension` writes."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    order = sorted(range(len(rates)), key=lambda dim: -rates[dim])
    active = [variances is not None and variances[dim] > threshold for dim in order]
    figure = Figure(figsize=(min(5.0 + 0.09 * len(order), 9.0), 3.4), layout="constrained")
    axes = figure.add_subplot()
    title = f"Rate per dimension: {sum(rates):z.2f} nats in all"
    if variances is not None:
        title += f", {sum(active)} of {len(order)} dimensions active"
    dress(axes, title, "dimension of z, largest rate first", f"mean rate, nats per {unit}")
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


def _write(figure: Figure, path: str | Path) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI, format="png", facecolor="white")
