"""Answer selection: which of these sentences answers the question?"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, cast

import torch
from torch import nn
from torch.nn import functional as F

from lvexp.data.batch import Batch
from lvexp.data.vectors import read_vectors
from lvexp.data.vocabulary import Vocabulary
from lvexp.errors import DataError
from lvexp.models.base import LatentModel
from lvexp.networks.base import StateEncoder
from lvexp.networks.matcher import Matcher
from lvexp.reading import Memory, Reading
from lvexp.shapes import Float, Int, Tensor


class AnswerModel(LatentModel):
    r"""p(y|q,a): whether answer a (``batch.tokens``) is right (``batch.labels`` 1) for question q (``batch.source``).

    With a latent variable it is the Neural Answer Selection Model of Miao, Yu & Blunsom 2016: h drives the attention
    over the answer's words, and

    .. math:: \log p(y|q,a) \ge E_{q(h|q,a,y)}[\log p(y|q,a,h)] - KL(q(h|q,a,y) \| p(h|q))

    where p(h|q) is computed from tanh(W s_q) and q(h|q,a,y) from tanh(W [s_q; s_a; s_y]), with s_y a vector for the
    label. In "nats per text", a text is a pair of question and answer. Without a latent variable (``latent=none``) the
    model is one of their baselines: an LSTM, with or without attention driven by the question.

    One encoder reads both texts. At test time the label is unknown: h is the mean of p(h|q), and the result with 20
    draws from p(h|q) is reported as well.

    Args:
        encoder: reads question and answer. decoder: scores the pair.
        embeddings: ``path`` of the initial word vectors (None: random), and whether to ``train`` them.
        parts: arguments of every :class:`LatentModel`.
    """

    reported: ClassVar[frozenset[str]] = frozenset({"use"})
    sees_labels: ClassVar[bool] = True
    offers: ClassVar[tuple[str, ...]] = ("rank",)
    writes: ClassVar[bool] = False
    reads: ClassVar[tuple[str, ...]] = ("source", "text", "label")

    def __init__(
        self, encoder: StateEncoder, decoder: Matcher, embeddings: Mapping[str, Any] | None = None, **parts: Any
    ):
        super().__init__(**parts)
        self.encoder, self.decoder = encoder, decoder
        self.embeddings = dict(embeddings or {})
        width = encoder.width
        if self.latent.dim is not None:
            self.label = nn.Embedding(2, width)
            self.inference = nn.Sequential(nn.Linear(3 * width, width), nn.Tanh())
            self.asked = nn.Sequential(nn.Linear(width, width), nn.Tanh())
        if not self.embeddings.get("train", True):
            encoder.get_submodule("embedding").requires_grad_(False)

    def prepare(self) -> None:
        if path := self.embeddings.get("path"):
            table = self.encoder.get_parameter("embedding.weight")
            vocabulary = cast(Vocabulary, self.vocabulary)
            words = vocabulary.tokens(range(vocabulary.size))
            found = read_vectors(path, words, table.shape[1])
            with torch.no_grad():
                for row, vector in found.items():
                    table[row] = torch.from_numpy(vector)

    def read(self, batch: Batch, labelled: bool = True) -> Reading:
        """Question and answer as memories. The features of q(h|q,a,y) need the label; they are empty if ``labelled`` is
        false."""
        if batch.source is None:
            raise DataError("answers cannot be judged without their questions\ntry  data.columns.source=COLUMN")
        there = batch.sourced
        question = self._memory(batch.source, there.sum(1), there)
        own = torch.arange(batch.tokens.shape[1], device=batch.tokens.device) < batch.lengths[:, None]
        answer = self._memory(batch.tokens, batch.lengths, own)
        memories = {"question": question, "answer": answer}
        if self.latent.dim is None:
            return Reading(question.summary, None, memories)
        features = question.summary[:, :0]
        if labelled:
            label = self.label(right(batch))
            features = self.inference(torch.cat([question.summary, answer.summary, label], -1))
        return Reading(features, self.asked(question.summary), memories)

    def _memory(self, tokens: Int[Tensor, "B T"], lengths: Int[Tensor, " B"], own: Tensor) -> Memory:
        states = self.encoder.states(tokens, lengths)
        return Memory(states, own, self.encoder.summary(states, lengths))

    # --- scores --------------------------------------------------------------------------------------------------

    def log_likelihood(
        self, batch: Batch, reading: Reading, code: Float[Tensor, "S B W"], inputs: Int[Tensor, "B T_1"] | None = None
    ) -> Float[Tensor, "S B"]:
        """log p(y|q,a,h)."""
        sign = 2 * right(batch).to(code.dtype) - 1
        return F.logsigmoid(sign * self.decoder(reading.memories, code))

    def relevance(self, reading: Reading, draws: int = 0) -> Float[Tensor, " B"]:
        """Log odds of p(y=1|q,a), by which answers are ranked. Labels are not used.

        Args:
            reading: of the pairs.
            draws: number of draws from p(h|q) over which p(y=1|q,a,h) is averaged; 0 sets h to the mean of p(h|q).
        """
        logits = self.decoder(reading.memories, self._asked_code(reading, draws)).double()
        p = torch.logsumexp(F.logsigmoid(logits), 0), torch.logsumexp(F.logsigmoid(-logits), 0)
        return p[0] - p[1]

    def attention(self, reading: Reading) -> Float[Tensor, "B T"]:
        """The attention weights of the answer's tokens, at the mean of p(h|q)."""
        return self.decoder.attend(reading.memories, self._asked_code(reading))[0]

    def _asked_code(self, reading: Reading, draws: int = 0) -> Float[Tensor, "S B W"]:
        """The code of h given the question alone."""
        texts = len(reading.features)
        if self.latent.dim is None:
            return reading.features.new_zeros(1, texts, 0)
        prior = self.latent.prior(reading.condition)
        assert prior is not None  # lvexp.checks rejects latents without a prior
        prior = prior.expand(torch.Size((texts,)))  # an unconditional prior is the same for every pair
        return self.latent.code(prior.sample(torch.Size((draws,))) if draws else prior.mean[None])

    @torch.no_grad()
    def rank(self, question: str, answers: Sequence[str]) -> list[tuple[str, float]]:
        """The answers, each with p(y=1|q,a), the probability that it is right, best first; ties keep their order. If
        there is a latent variable, h is the mean of p(h|q)."""
        if isinstance(answers, str) or not answers:
            raise ValueError("rank: needs a list of at least one answer")
        asked, *texts = cast(Vocabulary, self.vocabulary).encode([question, *answers])
        batch = Batch.of(texts, [asked] * len(texts)).to(self.device)
        odds = self.relevance(self.read(batch, labelled=False))
        return sorted(zip(answers, odds.sigmoid().tolist(), strict=True), key=lambda pair: -pair[1])

    # --- model selection and parameters --------------------------------------------------------------------------

    @property
    def monitor(self) -> tuple[str, str]:
        return "map_loss", "1−MAP"

    def inference_parameters(self) -> Iterable[nn.Parameter]:
        """Those of q(h|q,a,y) alone. The encoder of the texts belongs to the generative model, which uses it too."""
        if self.latent.dim is None:
            return iter(())
        own = (self.label.parameters(), self.inference.parameters(), self.latent.inference_parameters())
        return itertools.chain(*own)


def right(batch: Batch) -> Int[Tensor, " B"]:
    """1 for right answers, 0 for wrong ones.

    Raises:
        DataError: on a CPU, an answer has no label, or there are more than two labels. Training and evaluation check
            the whole corpus first (:func:`lvexp.job.preflight.answers`).
    """
    labels = batch.labels
    if labels is None or (labels.device.type == "cpu" and bool(((labels < 0) | (labels > 1)).any())):
        raise DataError("every answer must be labelled, with one of two labels, the last in order for right ones")
    return labels
