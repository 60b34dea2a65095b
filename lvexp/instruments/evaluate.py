"""The walk over a set of texts with all instruments, and the report: beta = 1, no floor, no corruption, no dropout,
however the model was trained."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import torch

import lvexp.instruments
from lvexp.data.batch import Batch
from lvexp.errors import DataError
from lvexp.instruments.base import Context, Instrument, Look, finite, finite_or_none, seeded
from lvexp.instruments.bound import Bound, diverged
from lvexp.instruments.settings import EvaluationSettings
from lvexp.models.base import LatentModel
from lvexp.report.findings import BOUND, PARTS, Group, Row, Score, Section
from lvexp.report.verdict import verdict
from lvexp.terms import Terms

#: makes an instrument
Make = Callable[[Context], Instrument]


@functools.cache
def shipped() -> tuple[type[Instrument], ...]:
    """The instruments of this package, one or more in each file, in their order."""
    found: set[type[Instrument]] = set()
    for module in pkgutil.iter_modules(lvexp.instruments.__path__):
        inside = vars(importlib.import_module(f"lvexp.instruments.{module.name}")).values()
        found |= {part for part in inside if inspect.isclass(part) and issubclass(part, Instrument)}
    return tuple(sorted((part for part in found if not inspect.isabstract(part)), key=lambda part: part.order))


def _class(make: Make) -> type[Instrument]:
    """The class of an instrument, given the class itself or a ``functools.partial`` of it."""
    return make.func if isinstance(make, functools.partial) else make  # pyright: ignore


def applying(model: LatentModel, more: Sequence[Make] = ()) -> list[Make]:
    """The instruments that apply to a model, shipped ones and the user's own, in their order."""
    return sorted((make for make in (*shipped(), *more) if _class(make).applies(model)), key=lambda x: _class(x).order)


def validated(model: LatentModel, *makes: Make) -> list[str]:
    """The names of the figures that validations of the model measure with these instruments."""
    return list(dict.fromkeys(name for make in makes for name in _class(make).validates(model)))


class Walk:
    """Passes batches to instruments; what one of them draws changes no figure of another.

    Args:
        context: given to every instrument. makes: make the instruments.
    """

    def __init__(self, context: Context, makes: Sequence[Make]):
        self.context, self.number = context, 0
        with self._apart():
            self.instruments = [make(context) for make in makes]
        # drawn for a model, not for an instrument: which instruments there are must not change the later draws
        self.again = "use" in context.model.reported and context.model.latent.has_prior

    def show(self, terms: Terms, before: torch.Tensor | None = None) -> None:
        """Passes on the next batch; ``before`` is the state of the random number generator before its terms were
        computed, which only a report knows."""
        look = Look(terms, terms.q.sample() if self.again else None, self.number, before)
        for instrument in self.instruments:
            with self._apart():
                instrument.update(look)
        self.number += 1

    def measure(self) -> dict[str, Score]:
        """The figures of all instruments."""
        scores: dict[str, Score] = {}
        for instrument in self.instruments:
            with self._apart():
                scores |= instrument.measure()
        return scores

    def _apart(self) -> contextlib.AbstractContextManager[None]:
        """Leaves the global random numbers as they were."""
        device = self.context.model.device
        return torch.random.fork_rng([device] if device.type == "cuda" else [])


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The results of an evaluation.

    Attributes:
        scores: figure by name, the ``test`` part of result.json; None if a figure does not exist for the model.
        verdict: a summary in one line.
        groups: title and rows of each part of the table.
        sections: texts to read.
        pictures: stem of a file → function that draws it, given the path of the PNG.
        files: name of a file → its text.
        reported: the parts of the usual report that make sense for the model, a subset of
            :data:`lvexp.report.findings.PARTS`.
        monitor: the figure that selected the best validation, see :attr:`LatentModel.monitor`.
        unit: what one x is called, see :attr:`LatentModel.unit`.
    """

    scores: Mapping[str, Score]
    verdict: str
    groups: Sequence[Group] = ()
    sections: Sequence[Section] = ()
    pictures: Mapping[str, Callable[[Path], None]] = dataclasses.field(default_factory=dict)
    reported: Sequence[str] = PARTS
    monitor: tuple[str, str] = BOUND
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    unit: str = "text"


def evaluate(
    model: LatentModel,
    loader: Iterable[Batch],
    settings: EvaluationSettings | None = None,
    label_names: Sequence[str] = (),
    others: Mapping[str, Iterable[Batch]] | None = None,
    more: Sequence[Make] = (),
    language_model: LatentModel | None = None,
) -> Evaluation:
    """Evaluates a trained model on a test set; the result is the content of the report.

    The model's training mode and the global random numbers are restored afterwards. The same seed gives the same
    figures. For a model that diverged, the verdict says so; no exception is raised. Every figure is described in the
    docstring of its instrument.

    Args:
        model: to evaluate, on its own device.
        loader: the test set; read once, and again by some instruments.
        settings: of the evaluation.
        label_names: names of the classes.
        others: the batches of ``train`` and ``valid``, each text once, for instruments that need them.
        more: the user's own instruments.
        language_model: in evaluation mode, to measure how fluent written texts are.

    Raises:
        DataError: for a test set without texts.
    """
    settings = settings or EvaluationSettings()
    splits = {**(others or {}), "test": loader}
    with _judging(model), seeded(settings.seed):
        context = Context(model, settings, labels=label_names, splits=splits, language_model=language_model)
        return _evaluate(context, applying(model, more))


def _evaluate(context: Context, makes: Sequence[Make]) -> Evaluation:
    model, settings = context.model, context.settings
    walk, good, sentences, tokens = Walk(context, makes), finite(*model.parameters()), 0, 0
    broken: Terms | None = None
    for batch in context.splits["test"]:
        sentences, tokens = sentences + len(batch), tokens + batch.predicted()
        if good:  # otherwise not even a draw from such a distribution is possible: only count the remaining texts
            batch = batch.to(model.device)
            before = torch.get_rng_state()
            terms = model.terms(batch)
            good = finite(terms.distortion, terms.rate)
            if good:
                walk.show(terms, before)
            else:
                broken = terms
    if not sentences:
        raise DataError("the test set holds no texts: there is nothing to evaluate")

    scores: dict[str, Score] = dict.fromkeys(name for part in shipped() for name in part.figures)
    reported = [part for part in PARTS if part in model.reported]
    if not good:
        (bound,) = (instrument for instrument in walk.instruments if type(instrument) is Bound)
        scores |= diverged(bound, broken) | {"sentences": sentences, "tokens": tokens}
        known = {name: finite_or_none(score) for name, score in scores.items()}
        return Evaluation(known, verdict(scores), reported=reported, monitor=model.monitor, unit=model.unit)
    scores |= {name: finite_or_none(score) for name, score in walk.measure().items()}
    groups: dict[str, list[Row]] = {}
    sections: list[Section] = []
    pictures: dict[str, Callable[[Path], None]] = {}
    files: dict[str, str] = {}
    line = None
    for instrument in walk.instruments:
        torch.manual_seed(settings.seed)  # the draws so far depend on the test set and on the other instruments
        found = instrument.report(scores)
        scores |= {name: finite_or_none(score) for name, score in found.scores.items()}
        for title, rows in found.groups:
            groups.setdefault(title, []).extend(rows)
        sections += found.sections
        pictures |= found.pictures
        files |= found.files
        line = found.verdict or line
    return Evaluation(
        scores, line or verdict(scores), [(title, rows) for title, rows in groups.items() if rows],
        sorted(sections, key=lambda section: section.place), pictures, reported, model.monitor, files, model.unit,
    )  # fmt: skip


@contextlib.contextmanager
def _judging(model: LatentModel) -> Iterator[None]:
    """Evaluation mode without gradients; the mode of every module is restored afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training
