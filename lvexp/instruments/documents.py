"""Documents as bags of words: perplexity per document, topics, information of posterior means about the labels."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from lvexp.data.batch import Batch
from lvexp.instruments.base import Context, Instrument, Look, Scores
from lvexp.instruments.likelihood import effective
from lvexp.metrics.bound import perplexity
from lvexp.metrics.coherence import diversity, npmi
from lvexp.metrics.document import DocumentPerplexity
from lvexp.metrics.likelihood import FEW, importance_weighted
from lvexp.metrics.neighbours import classification_accuracy, retrieval_precision
from lvexp.models.base import LatentModel
from lvexp.models.document import DocumentModel
from lvexp.report import figures
from lvexp.report.findings import NONE, Findings, Group, Row, Score, Section
from lvexp.shapes import Int, Tensor

_TOP, _DIVERSE, _NEAREST = (5, 10), 25, (10, 100)


class Documents(Instrument):
    r"""Perplexities, topics, and information of the posterior means about the labels.

    ``ppl`` and ``ppl_document`` are computed from the ELBO, ``ppl_iw`` and ``ppl_iw_document`` from the
    importance-weighted NLL. The perplexity of the corpus is :math:`\exp(\sum_d l_d / \sum_d N_d)`, that per document
    :math:`\exp(\frac1D \sum_d l_d / N_d)`, which papers on topic models report. ``npmi_5``, ``npmi_10`` and their mean
    ``npmi`` are computed on the reference corpus ``npmi_reference``, which is ``train``.
    """

    order = 0

    def __init__(self, context: Context):
        super().__init__(context)
        self.metric = DocumentPerplexity(**context.metric).to(self.model.device)

    @classmethod
    def applies(cls, model: LatentModel) -> bool:
        return isinstance(model, DocumentModel)

    @classmethod
    def validates(cls, model: LatentModel) -> tuple[str, ...]:
        return DocumentPerplexity.figures

    def update(self, look: Look) -> None:
        self.metric.update(look.terms)

    def measure(self) -> dict[str, Score]:
        return {} if self.context.alone else self.metric.compute()

    def report(self, scores: Scores) -> Findings:
        model, splits, samples = self.model, self.context.splits, self.settings.iw_samples
        assert isinstance(model, DocumentModel)
        test = _Seen(model, splits["test"], samples, model.draws)
        found: dict[str, Score] = {**test.scores(samples)}
        found["topic_diversity"] = diversity(model.top(_DIVERSE))
        coherent = torch.zeros(len(model.top(1)))
        if "train" in splits:
            presence = torch.cat([(batch.counts > 0) for batch in splits["train"] if batch.counts is not None])
            each = {number: npmi(model.top(number).cpu(), presence) for number in _TOP}
            found |= {f"npmi_{number}": float(part.mean()) for number, part in each.items()}
            coherent = sum(each.values(), coherent) / len(_TOP)
            found |= {"npmi": float(coherent.mean()), "npmi_reference": "train", "npmi_documents": len(presence)}
        if "train" in splits and test.labels is not None:
            train = _Seen(model, splits["train"])
            if train.labels is not None and len(train.labels[train.labels >= 0].unique()) > 1:
                known = (train.means, train.labels)
                found["accuracy"] = classification_accuracy(*known, test.means, test.labels)
                shares = retrieval_precision(test.means, test.labels, *known, _NEAREST)
                found |= {f"retrieval_{number}": share for number, share in zip(_NEAREST, shares, strict=True)}
        topics = model.topics(10)
        order = coherent.argsort(descending=True, stable=True).tolist()
        lines = [("", f"{coherent[place]:z5.2f}  {' '.join(topics[place])}") for place in order]
        pictures = {"map": self._map(test)} if model.map and len(test.means) > 3 else {}
        return Findings(found, _groups(found, model.draws), sections=[Section("Topics", lines)], pictures=pictures)

    def _map(self, test: _Seen) -> functools.partial[None]:
        """A t-SNE map of the codes of documents that are evenly spaced over the test set."""
        from sklearn.manifold import TSNE

        assert isinstance(self.model, DocumentModel)
        count, means = min(self.model.map, len(test.means)), test.means
        rows = torch.arange(count) * len(means) // count
        points = TSNE(perplexity=min(30.0, (count - 1) / 3), init="pca", random_state=0).fit_transform(
            means[rows].numpy()
        )
        labels = None if test.labels is None else test.labels[rows].tolist()
        title = f"Posterior means of {count:,} texts, t-SNE"
        return functools.partial(figures.scatter, points.tolist(), labels, self.context.labels, title)


class _Seen:
    """The results of a pass over a split: nats of each document, its length N_d, its code at the posterior mean.

    Args:
        samples: draws of z for the importance-weighted NLL (0: none). draws: those for the bound.
    """

    labels: Int[Tensor, " D"] | None

    def __init__(self, model: DocumentModel, batches: Iterable[Batch], samples: int = 0, draws: int = 1):
        columns: list[tuple[Tensor, ...]] = []
        labels: list[Tensor] = []
        for batch in batches:
            batch = batch.to(model.device)
            terms = model.terms(batch, draws)
            assert terms.rate is not None
            assert batch.counts is not None
            bound = terms.distortion + terms.rate
            found = importance_weighted(model, terms, samples) if samples else None
            weighted = (bound,) * 3 if found is None else (found.nll, found.error, found.effective)
            means = model.latent.code(model.latent.point(terms.q)[None])[0]
            columns.append((terms.distortion, terms.rate, *weighted, batch.counts.sum(-1), means))
            labels += [] if batch.labels is None else [batch.labels]
        *nats, self.means = (torch.cat(column).cpu() for column in zip(*columns, strict=True))
        self.distortion, self.rate, self.nll, self.error, self.effective, self.words = (part.double() for part in nats)
        self.labels = torch.cat(labels).cpu() if labels else None

    def scores(self, samples: int) -> dict[str, Score]:
        bound, texts, words = self.distortion + self.rate, len(self.words), int(self.words.sum())
        nll = float(self.nll.mean())
        return {
            "elbo": -float(bound.mean()),
            "distortion": float(self.distortion.mean()),
            "rate": float(self.rate.mean()),
            "ppl": perplexity(float(bound.sum()), words),
            "ppl_document": perplexity(float((bound / self.words).sum()), texts),
            "nll": nll,
            "nll_kind": "importance-weighted",
            "nll_iw": nll,
            "nll_iw_se": float(self.error.square().sum().sqrt()) / texts if samples > 1 else None,
            "iw_samples": samples,
            "iw_effective": float(self.effective.mean()),
            "iw_few": float((self.effective < FEW).double().mean()),
            "ppl_iw": perplexity(float(self.nll.sum()), words),
            "ppl_iw_document": perplexity(float((self.nll / self.words).sum()), texts),
        }


def _groups(scores: Mapping[str, Any], draws: int) -> list[Group]:
    def row(name: str, key: str, form: str, unit: str, how: str) -> Row:
        return (
            (name, format(scores[key], f"z{form}"), unit, how) if scores.get(key) is not None else (name, NONE, "", "")
        )

    k, reference = f"importance-weighted, k = {scores['iw_samples']}", f"{scores.get('npmi_documents', 0):,} of train"
    error = f" ±{scores['nll_iw_se']:.2g}" if scores["nll_iw_se"] is not None else ""
    bound = [
        ("−ELBO", f"{-scores['elbo']:z.2f}", "nats/doc.", f"D + R, β = 1; {draws} draws of z"),
        row("distortion D", "distortion", ".2f", "nats/doc.", "−E log p(x|z)"),
        row("rate R", "rate", ".2f", "nats/doc.", "KL of q(z|x) from p(z)"),
        ("NLL ± s.e.", f"{scores['nll_iw']:.2f}{error}", "nats/doc.", k),
        *effective(scores),
    ]
    perplexities = [
        row("per document", "ppl_document", ".1f", "", "exp mean(−ELBO/N), as in papers"),
        row("of the corpus", "ppl", ".1f", "", "exp(sum −ELBO / sum N)"),
        row("per document, NLL", "ppl_iw_document", ".1f", "", "the same, from the NLL"),
        row("of the corpus, NLL", "ppl_iw", ".1f", "", ""),
    ]
    topics = [
        row("NPMI", "npmi", ".3f", "", f"of both; documents: {reference}"),
        row("  top 5", "npmi_5", ".3f", "", "words of each topic"),
        row("  top 10", "npmi_10", ".3f", "", ""),
        row("diversity", "topic_diversity", ".2f", "of 1", f"different words, top {_DIVERSE}"),
    ]
    labels = [
        row("accuracy", "accuracy", ".3f", "of 1", "logistic regression on means"),
        row("retrieval", "retrieval_10", ".3f", "of 1", "same label, of 10 nearest"),
        row("", "retrieval_100", ".3f", "of 1", "of 100 nearest in train"),
    ]
    groups: list[Group] = [("Bound", bound), ("Perplexity", perplexities), ("Topics", topics)]
    return [*groups, ("Labels", labels)] if scores.get("accuracy") is not None else groups
