"""The quality of a ranking of answers: MAP and MRR as trec_eval defines them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lvexp.data.batch import Batch
from lvexp.errors import DataError
from lvexp.shapes import Int, Tensor

DRAWS, LEVEL = 10_000, 0.95  # samples and level of the bootstrap
#: scores and relevance of the answers to one question
Question = tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]


def ranked(score: npt.NDArray, relevant: npt.NDArray) -> npt.NDArray[np.bool_]:
    """Relevance in order of the score, best first. Among equal scores the later answer comes first, as in trec_eval if
    answers are named by their position: the first sentences are right more often, and a model that cannot distinguish
    them must not benefit from this."""
    return relevant[::-1][np.argsort(-score[::-1], kind="stable")].astype(bool)


def average_precision(score: npt.NDArray, relevant: npt.NDArray) -> float:
    """The precision at the rank of each right answer, mean over the right answers. There must be at least one."""
    places = np.flatnonzero(ranked(score, relevant)) + 1
    return float((np.arange(1, len(places) + 1) / places).mean())


def reciprocal_rank(score: npt.NDArray, relevant: npt.NDArray) -> float:
    """1 / the rank of the best right answer. There must be at least one."""
    return 1 / (1 + int(np.argmax(ranked(score, relevant))))


def questions(group: npt.ArrayLike, score: npt.ArrayLike, label: npt.ArrayLike) -> list[Question]:
    """The answers of each question that has a right one (label 1), in the given order."""
    numbers, scores, labels = np.asarray(group), np.asarray(score, float), np.asarray(label)
    order = np.argsort(numbers, kind="stable")
    cuts = np.flatnonzero(np.diff(numbers[order])) + 1
    found = [(scores[rows], labels[rows] == 1) for rows in np.split(order, cuts)] if len(order) else []
    return [(score, relevant) for score, relevant in found if relevant.any()]


def mixed(found: Iterable[Question]) -> list[Question]:
    """The questions with both right and wrong answers; for the others every order is equally good."""
    return [(score, relevant) for score, relevant in found if not relevant.all()]


def interval(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of the mean of ``values`` over questions: the variation between sets of
    questions. It does not include the variation between seeds of training."""
    rng, measured = np.random.default_rng(seed), np.asarray(values)
    means = measured[rng.integers(len(measured), size=(DRAWS, len(measured)))].mean(1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def figures(found: Sequence[Question]) -> dict[str, float]:
    """Mean average precision and mean reciprocal rank of questions."""
    return {
        name: float(np.mean([figure(*question) for question in found]))
        for name, figure in (("map", average_precision), ("mrr", reciprocal_rank))
    }


def grouped(batch: Batch) -> tuple[Int[Tensor, " B"], Int[Tensor, " B"]]:
    """The question and the row of each answer. Raises :class:`DataError` if the corpus does not have them."""
    if batch.group is None or batch.index is None:
        raise DataError("the corpus does not group answers by question\ntry  data.columns.group=COLUMN")
    return batch.group, batch.index


class Ranking(Metric):
    """MAP and MRR over the questions that have a right answer, from a stream of answers in any order.

    ``compute`` returns a dict of ``map``, ``mrr`` and ``map_loss`` = 1 - MAP, for monitors that look for the lowest
    value. They are 0, 0 and 1 if no question has a right answer.

    Args:
        more: options of every ``torchmetrics.Metric``.
    """

    full_state_update = False
    figures = ("map", "mrr", "map_loss")
    group: list[Tensor]
    index: list[Tensor]
    score: list[Tensor]
    label: list[Tensor]

    def __init__(self, **more: Any):
        super().__init__(**more)
        for name in ("group", "index", "score", "label"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, group: Tensor, index: Tensor, score: Tensor, label: Tensor) -> None:
        """Answers of the questions ``group``, at the rows ``index``. [B] each."""
        for name, part in (("group", group), ("index", index), ("score", score.detach()), ("label", label)):
            getattr(self, name).append(part)

    def questions(self) -> list[Question]:
        """The questions with a right answer, their answers in the order of their rows."""
        columns = [dim_zero_cat(getattr(self, name)) for name in ("group", "index", "score", "label")]
        order = torch.argsort(columns[1])
        group, _, score, label = (column[order].tolist() for column in columns)
        return questions(group, score, label)

    def compute(self) -> dict[str, Any]:
        found = self.questions()
        measured = figures(found) if found else {"map": 0.0, "mrr": 0.0}
        return {**measured, "map_loss": 1 - measured["map"]}
