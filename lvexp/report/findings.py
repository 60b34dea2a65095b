"""What a model has to say of itself in the report, beside what is said of every model. Free of torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

Score = float | int | bool | str | None
#: name, value as it is printed, unit, how it was measured
Row = tuple[str, str, str, str]

#: what picks the best validation of a model with a bound: the figure, the lower the better, and its name in print
BOUND = ("nelbo", "−ELBO")
#: parts of the usual report: D, R and the bound; the importance-weighted likelihood; mutual information and active
#: units; texts written by the model, and the figures made from them
PARTS = ("bound", "likelihood", "use", "text")


@dataclasses.dataclass(frozen=True)
class Map:
    """Texts of the test set as points, to be drawn with their labels.

    Attributes:
        title: of the picture. rows: of the texts in the test set, as its batches come. points: of each, two numbers.
    """

    title: str
    rows: Sequence[int]
    points: Sequence[Sequence[float]]


@dataclasses.dataclass(frozen=True)
class Findings:
    """What :meth:`lvexp.models.base.LatentModel.assess` found.

    Attributes:
        scores: figure by name, for the ``test`` part of result.json; None where it could not be measured.
        groups: title and rows of each group of the table, printed above the usual ones.
        verdict: one line that stands for the usual verdict; None leaves that one.
        texts: title → lines, for samples.txt.
        figures: stem of a file → what draws the picture, given the path of the PNG. maps: the same for maps of texts.
    """

    scores: Mapping[str, Score] = dataclasses.field(default_factory=dict)
    groups: Sequence[tuple[str, Sequence[Row]]] = ()
    verdict: str | None = None
    texts: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    figures: Mapping[str, Callable[[Path], None]] = dataclasses.field(default_factory=dict)
    maps: Mapping[str, Map] = dataclasses.field(default_factory=dict)
