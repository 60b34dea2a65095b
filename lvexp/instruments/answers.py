"""Answer selection: rankings by the model, by word counts and by both; attention."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from typing import cast

import numpy as np
import torch
from torch.nn import functional as F

from lvexp.data.batch import Batch
from lvexp.data.vocabulary import Vocabulary
from lvexp.instruments.base import Context, Instrument, Look, Scores
from lvexp.instruments.settings import EvaluationSettings
from lvexp.metrics import ranking
from lvexp.metrics.overlap import Combination, Overlap
from lvexp.models.answers import AnswerModel, right
from lvexp.models.base import LatentModel
from lvexp.report import figures
from lvexp.report.findings import NONE, Findings, Group, Row, Score, Section

DRAWS, SHOWN = 20, 4  # draws from p(h|q); number of questions in the picture of attention


class Answers(Instrument):
    """MAP and MRR on the test set: of the model, of the two counts of common words, and of both together (+Cnt).

    The scores are combined by a logistic regression. It is fitted on the validation set, on which the model was not
    trained; idf is computed from the answers of the training set. Without these splits that part is omitted.
    """

    order = 0

    def __init__(self, context: Context):
        super().__init__(context)
        self.metric = ranking.Ranking(**context.metric).to(self.model.device)

    @classmethod
    def applies(cls, model: LatentModel) -> bool:
        return isinstance(model, AnswerModel)

    @classmethod
    def validates(cls, model: LatentModel) -> tuple[str, ...]:
        return ranking.Ranking.figures

    def update(self, look: Look) -> None:
        if self.context.alone:
            return
        model, batch = self.model, look.terms.batch
        assert isinstance(model, AnswerModel)
        with torch.no_grad():
            self.metric.update(*ranking.grouped(batch), model.relevance(look.terms.reading), right(batch))

    def measure(self) -> dict[str, Score]:
        return {} if self.context.alone else self.metric.compute()

    def report(self, scores: Scores) -> Findings:
        assert isinstance(self.model, AnswerModel)
        return _report(self.model, self.context.splits, self.settings)


def _report(model: AnswerModel, splits: Mapping[str, Iterable[Batch]], settings: EvaluationSettings) -> Findings:
    test = _Pairs(model, splits["test"])
    scores = _ranked(test, test.score, "")
    rows = [
        _pair("model", scores, "", f"{scores['questions']} questions with a right answer"),
        _pair("  from", scores, "_low", "95 % bootstrap interval,"),
        _pair("  to", scores, "_high", "over questions"),
        _pair("  mixed questions", scores, "_mixed", f"{scores['questions_mixed']}, not all of it right"),
    ]
    if test.drawn is not None:
        found = _ranked(test, test.drawn, "_drawn")
        scores |= {name: found[name] for name in ("map_drawn", "mrr_drawn")}
        rows.append(_pair("  h drawn", found, "_drawn", f"{DRAWS} draws of p(h|q), not its mean"))
    if "train" in splits and "valid" in splits:
        overlap = Overlap(
            cast(Vocabulary, model.vocabulary), (text for batch in splits["train"] for text in batch.tokens.tolist())
        )
        valid = _Pairs(model, splits["valid"])
        for counted in (test, valid):
            counted.counts = np.array([overlap(*pair) for pair in counted.pairs])
        if len({*valid.label.tolist()}) > 1:
            alone = Combination(valid.counts, valid.label)(test.counts)
            both = Combination(np.c_[valid.score, valid.counts], valid.label)(np.c_[test.score, test.counts])
            scores |= _ranked(test, alone, "_counts") | _ranked(test, both, "_combined")
            rows.append(_pair("word counts", scores, "_counts", "common words, by a logistic"))
            rows.append(_pair("model + counts", scores, "_combined", "regression on validation"))
    groups: list[Group] = [
        ("Answers: MAP, MRR", rows),
        _bound(model, test, scores, settings),
    ]
    best = test.best()
    pictured = [best[at * len(best) // SHOWN] for at in range(min(SHOWN, len(best)))]
    attended = model.decoder.attention and {row: test.attention(row) for row in pictured}
    shown = [(test.told(row)[0], attended[row]) for row in pictured] if attended else []
    return Findings(
        scores=scores,
        groups=groups,
        verdict=_verdict(scores),
        sections=[Section("Answers ranked first", [("", line) for row in pictured for line in test.told(row)])],
        pictures={"attention": functools.partial(figures.attention, shown)} if shown else {},
    )


def _verdict(scores: Mapping[str, Score]) -> str:
    """MAP and MRR, and whether counting common words is better than the model."""
    if scores["map"] is None:
        return "answers: no question of the test set has a right one"
    line = f"answers: MAP {scores['map']:.4f}, MRR {scores['mrr']:.4f} over {scores['questions']} questions"
    counts = scores.get("map_counts")
    below = counts is not None and float(scores["map"]) < float(counts)
    return f"{line}, below word counts alone (MAP {counts:.4f})" if below else line


class _Pairs:
    """The model's results for every pair of a split, in the order of their rows."""

    def __init__(self, model: AnswerModel, batches: Iterable[Batch]):
        self.model = model
        self.batches = [batch.to(model.device) for batch in batches]
        self.drawn: np.ndarray | None = None
        self.counts: np.ndarray = np.zeros((0, 2))
        where = [ranking.grouped(batch) for batch in self.batches]
        self.row = torch.cat([index for _, index in where]).cpu().numpy()
        self.order = np.argsort(self.row)
        self.group = self._sorted([group for group, _ in where])
        self.label = self._sorted([batch.labels for batch in self.batches if batch.labels is not None])
        self.readings = [model.read(batch) for batch in self.batches]
        self.score = self._sorted([model.relevance(reading) for reading in self.readings])
        if model.latent.dim is not None:
            self.drawn = self._sorted([model.relevance(reading, DRAWS) for reading in self.readings])
        sources = [source for batch in self.batches if batch.source is not None for source in batch.source.tolist()]
        tokens = [text for batch in self.batches for text in batch.tokens.tolist()]
        self.pairs = [(sources[at], tokens[at]) for at in self.order]

    def _sorted(self, columns: list) -> np.ndarray:
        return torch.cat(columns).cpu().numpy()[self.order]

    def best(self) -> list[int]:
        """The index of the answer ranked first, for each question that has a right answer."""
        found = []
        for group in np.unique(self.group):
            places = np.flatnonzero(self.group == group)
            if (self.label[places] == 1).any():
                found.append(int(places[np.argmax(self.score[places])]))
        return found

    def told(self, place: int) -> list[str]:
        """The question, and the answer with its relevance."""
        question, answer = (self.model.vocabulary.decode(text[1:]) for text in self.pairs[place])
        right = "right" if self.label[place] == 1 else "wrong"
        return [question, f"→ {answer}  ({right}, p = {1 / (1 + math.exp(-self.score[place])):.2f})"]

    def attention(self, place: int) -> figures.Attended:
        row = int(self.row[self.order[place]])
        for batch, reading in zip(self.batches, self.readings, strict=True):
            _, index = ranking.grouped(batch)
            if (at := (index == row).nonzero()[:, 0]).numel():
                one = batch[at]
                length = int(one.lengths[0])
                weights = self.model.attention(reading[at])[0, :length].tolist()
                return list(
                    zip(
                        cast(Vocabulary, self.model.vocabulary).tokens(one.tokens[0, :length].tolist()),
                        weights,
                        strict=True,
                    )
                )
        raise AssertionError("every place has a row")


def _ranked(pairs: _Pairs, score: np.ndarray, suffix: str) -> dict[str, Score]:
    """MAP and MRR over the questions with a right answer, with intervals, and over those that also have a wrong one."""
    found = ranking.questions(pairs.group, score, pairs.label)
    both = ranking.mixed(found)
    scores: dict[str, Score] = {"questions": len(found), "questions_mixed": len(both)}
    for name, figure in (("map", ranking.average_precision), ("mrr", ranking.reciprocal_rank)):
        each, some = ([figure(*question) for question in part] for part in (found, both))
        low, high = ranking.interval(each) if each else (None, None)
        scores |= {
            f"{name}{suffix}": float(np.mean(each)) if each else None,
            f"{name}{suffix}_mixed": float(np.mean(some)) if some else None,
            f"{name}{suffix}_low": low,
            f"{name}{suffix}_high": high,
        }
    return scores


def _pair(name: str, scores: Mapping[str, Score], suffix: str, how: str = "") -> Row:
    """A row with MAP as its value, and MRR in the column of units."""
    first, second = (scores.get(f"{figure}{suffix}") for figure in ("map", "mrr"))
    return (name, NONE, NONE, how) if first is None else (name, f"{first:.4f}", f"{second:.4f}", how)


def _bound(model: AnswerModel, pairs: _Pairs, scores: dict[str, Score], settings: EvaluationSettings) -> Group:
    """D, R and the NLL that they bound; figures per word, as in the usual report, would be meaningless here."""
    count, distortion, rate, nll = len(pairs.label), 0.0, 0.0, 0.0
    for batch, reading in zip(pairs.batches, pairs.readings, strict=True):
        terms = model.terms(batch, reading=reading)
        distortion += float(terms.distortion.double().sum())
        rate += 0.0 if terms.rate is None else float(terms.rate.double().sum())
        assert batch.labels is not None
        sign = 2 * batch.labels.double() - 1
        nll -= float(F.logsigmoid(sign * model.relevance(reading, settings.iw_samples)).sum())
    right = float((pairs.label == 1).mean())
    chance = -sum(p * math.log(p) for p in (right, 1 - right) if p)
    kind = "exact" if model.latent.dim is None else f"{settings.iw_samples} draws"
    scores |= {"nll": nll / count, "nll_kind": kind, "ppl": None, "nll_constant": chance, "pairs": count}
    rows: list[Row] = []
    if model.latent.dim is not None:
        rows = [
            ("−ELBO", f"{(distortion + rate) / count:z.4f}", "nats/pair", "D + R with β = 1"),
            ("distortion D", f"{distortion / count:z.4f}", "nats/pair", "−E log p(y|q,a,h)"),
            ("rate R", f"{rate / count:z.4f}", "nats/pair", "q(h|q,a,y) from p(h|q)"),
        ]
    rows += [
        ("NLL", f"{nll / count:.4f}", "nats/pair", f"−log p(y|q,a), {kind}"),
        ("  of a constant", f"{chance:.4f}", "nats/pair", f"{right:.1%} of {count:,} are right"),
    ]
    return "Bound", rows
