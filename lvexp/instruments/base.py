"""Base class of all instruments; each measures one figure or family of figures and places it in the report."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import ClassVar

import torch

from lvexp.data.batch import Batch
from lvexp.instruments.settings import EvaluationSettings
from lvexp.models.base import LatentModel
from lvexp.report.findings import Findings, Score
from lvexp.shapes import Shaped, Tensor
from lvexp.terms import Terms

Scores = Mapping[str, Score]


@dataclasses.dataclass(frozen=True)
class Context:
    """What an instrument is constructed with.

    Attributes:
        model: the model that is measured, in evaluation mode, without gradients.
        settings: of the evaluation.
        alone: whether a single process measures (a report) or all processes do (a validation).
        labels: names of the classes.
        splits: the batches of ``test`` and, if available, of ``train``, ``valid`` and ``judge``, each text once; they
            may be iterated more than once. Empty at a validation.
        language_model: measures how fluent written texts are, if the evaluation names one.
    """

    model: LatentModel
    settings: EvaluationSettings
    alone: bool = True
    labels: Sequence[str] = ()
    splits: Mapping[str, Iterable[Batch]] = dataclasses.field(default_factory=dict)
    language_model: LatentModel | None = None

    @property
    def metric(self) -> dict[str, bool]:
        """Options of a ``torchmetrics.Metric``; if a single process measures, it must not synchronise with others."""
        return {"sync_on_compute": False} if self.alone else {}


@dataclasses.dataclass(frozen=True)
class Look:
    """A batch as the instruments see it.

    Attributes:
        terms: the true bound, beta = 1, with one draw.
        value: another draw of z for each text, [B, …]; None if no instrument needs one.
        number: of the batch.
        before: the state of the random number generator before the terms were computed; None at a validation.
    """

    terms: Terms
    value: Shaped[Tensor, "B ..."] | None
    number: int
    before: Tensor | None = None


class Instrument(abc.ABC):
    """Measures a figure, or a family of figures, on validation and test sets, and defines how the report shows it.

    Subclasses in the files of ``lvexp/instruments`` are found automatically; a user's own is an option of the group
    ``instrument``. Figures must not depend on how a model was trained: the terms are those of the true bound.

    Attributes:
        order: instruments act and appear in this order; those for a single kind of model come first.
        figures: names of its figures in a report, which are None for a model that does not have them; empty for an
            instrument for a single kind of model.
    """

    order: ClassVar[int] = 100
    figures: ClassVar[tuple[str, ...]] = ()

    def __init__(self, context: Context):
        self.context, self.model, self.settings = context, context.model, context.settings

    @classmethod
    @abc.abstractmethod
    def applies(cls, model: LatentModel) -> bool:
        """Whether a model has these figures."""

    @classmethod
    def validates(cls, model: LatentModel) -> tuple[str, ...]:
        """Figures that validations measure too and log as ``val/…``; none by default."""
        return ()

    def update(self, look: Look) -> None:  # noqa: B027
        """Processes a batch; called for every batch."""

    def measure(self) -> dict[str, Score]:
        """The figures, after the last batch."""
        return {}

    def report(self, scores: Scores) -> Findings:
        """Rows, texts and pictures, given the figures of all instruments. Called for reports only, with the random
        number generator set to the evaluation's seed."""
        return Findings()


def finite(*tensors: Tensor | None) -> bool:
    """Whether all numbers are finite."""
    return all(tensor is None or bool(tensor.isfinite().all()) for tensor in tensors)


def finite_or_none(score: Score) -> Score:
    """The score, or None if JSON cannot represent it."""
    return None if isinstance(score, float) and not math.isfinite(score) else score


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds the global generators, and restores their state afterwards."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield
