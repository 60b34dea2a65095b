"""Documents as bags of words: NVDM and topic models in one."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lvexp.data.batch import Batch
from lvexp.metrics.bound import perplexity
from lvexp.metrics.coherence import diversity, npmi
from lvexp.metrics.document import DocumentPerplexity
from lvexp.metrics.likelihood import FEW, importance_weighted
from lvexp.metrics.neighbours import classification_accuracy, retrieval_precision
from lvexp.models.base import LatentModel
from lvexp.networks.bow import BowDecoder, BowEncoder
from lvexp.regularizers.base import Terms
from lvexp.report.findings import Findings, Map, Row, Score
from lvexp.report.table import effective
from lvexp.shapes import Float, Int, Tensor

if TYPE_CHECKING:
    from lvexp.instruments.evaluate import EvaluationSettings

_TOP, _DIVERSE, _NEAREST = (5, 10), 25, (10, 100)


class DocumentModel(LatentModel):
    """p(x|z) by one distribution over words, q(z|x) from a perceptron over counts.

    The choice of latent and decoder makes it an NVDM (``model=nvdm``: Gaussian z, logits linear in it; Miao et al.
    2016), a ProdLDA or a neural LDA (``model=prodlda``, ``neurallda``: proportions of topics; Srivastava & Sutton
    2017).

    The best validation is that of the lowest perplexity per document, which is what papers report.

    Args:
        encoder: reads x. decoder: scores it.
        per_word: trains on nats per word of each document, so that all documents weigh the same as they do in the
            perplexity per document; otherwise on nats per document, the likelihood of the corpus.
        draws: of z for each document, for the bound in the report.
        map: documents on the two-dimensional map of the report; 0 for none.
        parts: what every :class:`LatentModel` takes.
    """

    reported = frozenset({"use"})

    def __init__(
        self,
        encoder: BowEncoder,
        decoder: BowDecoder,
        per_word: bool = False,
        draws: int = 20,
        map: int = 1000,
        **parts: Any,
    ):
        super().__init__(**parts)
        self.encoder, self.decoder, self.per_word, self.draws, self.map = encoder, decoder, per_word, draws, map
        for remedy in self.remedies:
            remedy.attach(self)

    def features(self, batch: Batch) -> Float[Tensor, "B H"]:
        assert batch.counts is not None, "compat refuses corpora without counts"
        return self.encoder.read(batch.counts)

    def log_likelihood(
        self, batch: Batch, code: Float[Tensor, "S B W"], inputs: Int[Tensor, "B T_1"] | None = None
    ) -> Float[Tensor, "S B"]:
        assert batch.counts is not None
        return self.decoder(batch.counts, code)

    def loss(self, terms: Terms, beta: float) -> Float[Tensor, " B"]:
        loss = super().loss(terms, beta)
        assert terms.batch.counts is not None
        return loss / terms.batch.counts.sum(-1) if self.per_word else loss

    @property
    def monitor(self) -> tuple[str, str]:
        return "ppl_document", "ppl/doc."

    def judge(self) -> DocumentPerplexity:
        return DocumentPerplexity()

    def inference_parameters(self) -> Iterable[nn.Parameter]:
        return itertools.chain(self.encoder.parameters(), self.latent.parameters())

    def top(self, words: int) -> Int[Tensor, "W N"]:
        """The places of the words that each entry of the code speaks for most, the strongest first."""
        return self.decoder.topics().topk(min(words, self.vocabulary.size), dim=-1).indices

    def topics(self, words: int = 10) -> list[list[str]]:
        """Those words."""
        return [self.vocabulary.decode(places).split() for places in self.top(words).tolist()]

    # --- the report ----------------------------------------------------------------------------------------------

    def assess(self, splits: Mapping[str, Iterable[Batch]], settings: EvaluationSettings) -> Findings:
        """Perplexities, topics, and what the posterior means know of the labels.

        ``scores`` holds ``ppl`` and ``ppl_document`` from the ELBO, ``ppl_iw`` and ``ppl_iw_document`` from the
        importance-weighted NLL: of the corpus, :math:`\\exp(\\sum_d l_d / \\sum_d N_d)`, and per document,
        :math:`\\exp(\\frac1D \\sum_d l_d / N_d)`, the one in papers on topic models. ``npmi_5``, ``npmi_10`` and their
        mean ``npmi`` are of the reference corpus ``npmi_reference``, ``train``.
        """
        test = _Seen.of(self, splits["test"], settings.iw_samples, self.draws)
        scores: dict[str, Score] = {**test.scores(settings.iw_samples)}
        scores["topic_diversity"] = diversity(self.top(_DIVERSE))
        coherent = torch.zeros(len(self.top(1)))
        if "train" in splits:
            presence = torch.cat([(batch.counts > 0) for batch in splits["train"] if batch.counts is not None])
            found = {number: npmi(self.top(number).cpu(), presence) for number in _TOP}
            scores |= {f"npmi_{number}": float(each.mean()) for number, each in found.items()}
            coherent = sum(found.values(), coherent) / len(_TOP)
            scores |= {"npmi": float(coherent.mean()), "npmi_reference": "train", "npmi_documents": len(presence)}
        if "train" in splits and test.labels is not None:
            train = _Seen.of(self, splits["train"])
            if train.labels is not None and len(train.labels[train.labels >= 0].unique()) > 1:
                known = (train.means, train.labels)
                scores["accuracy"] = classification_accuracy(*known, test.means, test.labels)
                shares = retrieval_precision(test.means, test.labels, *known, _NEAREST)
                scores |= {f"retrieval_{number}": share for number, share in zip(_NEAREST, shares, strict=True)}
        order = coherent.argsort(descending=True, stable=True).tolist()
        topics = self.topics(10)
        lines = [f"{coherent[place]:z5.2f}  {' '.join(topics[place])}" for place in order]
        return Findings(
            scores=scores,
            groups=_groups(scores, self.draws),
            texts={"Topics": lines},
            maps={"map": _neighbours(test.means, self.map)} if self.map and len(test.means) > 3 else {},
        )


@dataclasses.dataclass(frozen=True)
class _Seen:
    """What a pass over a split left: nats of each document, its length N_d, its code at the posterior mean."""

    distortion: Float[Tensor, " D"]
    rate: Float[Tensor, " D"]
    nll: Float[Tensor, " D"]
    error: Float[Tensor, " D"]
    effective: Float[Tensor, " D"]
    words: Float[Tensor, " D"]
    means: Float[Tensor, "D W"]
    labels: Int[Tensor, " D"] | None

    @classmethod
    def of(cls, model: DocumentModel, batches: Iterable[Batch], samples: int = 0, draws: int = 1) -> _Seen:
        """``samples`` draws of z for the importance-weighted NLL (0: none), ``draws`` for the bound."""
        columns: list[tuple[Tensor, ...]] = []
        labels: list[Tensor] = []
        for batch in batches:
            batch = batch.to(model.device)
            terms = model.terms(batch, draws)
            assert terms.rate is not None
            assert batch.counts is not None
            bound = terms.distortion + terms.rate
            found = importance_weighted(model, batch, samples, terms.params) if samples else None
            weighted = (bound,) * 3 if found is None else (found.nll, found.error, found.effective)
            means = model.latent.code(terms.q.mean[None])[0]
            columns.append((terms.distortion, terms.rate, *weighted, batch.counts.sum(-1), means))
            labels += [] if batch.labels is None else [batch.labels]
        *nats, means = (torch.cat(column).cpu() for column in zip(*columns, strict=True))
        distortion, rate, nll, error, effective, words = (column.double() for column in nats)
        seen = torch.cat(labels).cpu() if labels else None
        return cls(distortion, rate, nll, error, effective, words, means, seen)

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


def _groups(scores: Mapping[str, Any], draws: int) -> list[tuple[str, list[Row]]]:
    def row(name: str, key: str, form: str, unit: str, how: str) -> Row:
        return (
            (name, format(scores[key], f"z{form}"), unit, how) if scores.get(key) is not None else (name, "–", "", "")
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
    perplexity = [
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
    groups = [("Bound", bound), ("Perplexity", perplexity), ("Topics", topics)]
    return [*groups, ("Labels", labels)] if scores.get("accuracy") is not None else groups


def _neighbours(means: Float[Tensor, "D W"], most: int) -> Map:
    """Documents, spread evenly over the test set, on a t-SNE map of their codes."""
    from sklearn.manifold import TSNE

    rows = torch.arange(min(most, len(means))) * len(means) // min(most, len(means))
    perplexity = min(30.0, (len(rows) - 1) / 3)
    points = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(means[rows].numpy())
    return Map(f"Posterior means of {len(rows):,} texts, t-SNE", rows.tolist(), points.tolist())
