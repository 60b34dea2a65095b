"""Documents as bags of words: NVDM and topic models in one."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, ClassVar

from torch import nn

from lvexp.data.batch import Batch
from lvexp.models.base import LatentModel
from lvexp.networks.bow import BowDecoder, BowEncoder
from lvexp.reading import Reading
from lvexp.shapes import Float, Int, Tensor


class DocumentModel(LatentModel):
    """p(x|z) by one distribution over words, q(z|x) from a perceptron over counts.

    The choice of latent and decoder makes it an NVDM (``model=nvdm``: Gaussian z, logits linear in z; Miao et al.
    2016), a ProdLDA or a neural LDA (``model=prodlda``, ``neurallda``: proportions of topics; Srivastava & Sutton
    2017).

    The best validation is the one with the lowest perplexity per document, the figure that papers report.

    Args:
        encoder: reads x. decoder: scores it.
        per_word: train on nats per word of each document, so that all documents have the same weight, as in the
            perplexity per document. Otherwise train on nats per document, the likelihood of the corpus.
        draws: of z for each document, for the bound in the report.
        map: number of documents on the two-dimensional map of the report; 0 for no map.
        parts: arguments of every :class:`LatentModel`.
    """

    reported: ClassVar[frozenset[str]] = frozenset({"use"})
    writes: ClassVar[bool] = False
    offers: ClassVar[tuple[str, ...]] = ("topics",)

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

    def read(self, batch: Batch) -> Reading:
        assert batch.counts is not None, "lvexp.checks rejects corpora without counts"
        return Reading(self.encoder.read(batch.counts))

    def log_likelihood(
        self, batch: Batch, reading: Reading, code: Float[Tensor, "S B W"], inputs: Int[Tensor, "B T_1"] | None = None
    ) -> Float[Tensor, "S B"]:
        assert batch.counts is not None
        return self.decoder(batch.counts, code)

    def weighted(self, loss: Float[Tensor, " B"], batch: Batch) -> Float[Tensor, " B"]:
        assert batch.counts is not None
        return loss / batch.counts.sum(-1) if self.per_word else loss

    @property
    def monitor(self) -> tuple[str, str]:
        return "ppl_document", "ppl/doc."

    def inference_parameters(self) -> Iterable[nn.Parameter]:
        return itertools.chain(self.encoder.parameters(), self.latent.inference_parameters())

    def top(self, words: int) -> Int[Tensor, "W N"]:
        """Indices of the words with the largest weights for each entry of the code, the largest first."""
        return self.decoder.topics().topk(min(words, self.vocabulary.size), dim=-1).indices

    def topics(self, words: int = 10) -> list[list[str]]:
        """The words with the largest weights for each entry of the code, the largest first."""
        return [self.vocabulary.decode(places).split() for places in self.top(words).tolist()]
