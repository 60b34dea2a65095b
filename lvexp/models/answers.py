"""Answer selection: which of these sentences answers the question?"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import nn
from torch.nn import functional as F

from lvexp.data.batch import Batch
from lvexp.data.special import PAD
from lvexp.data.vectors import read_vectors
from lvexp.errors import DataError, RunError
from lvexp.metrics.ranking import Ranking, grouped
from lvexp.models.base import LatentModel
from lvexp.models.selection import report
from lvexp.networks.base import StateEncoder
from lvexp.networks.matcher import Matcher
from lvexp.regularizers.base import Regularizer, Terms
from lvexp.report.findings import Findings
from lvexp.shapes import Float, Int, Tensor

if TYPE_CHECKING:
    from lvexp.data.vocabulary import Vocabulary
    from lvexp.instruments.evaluate import EvaluationSettings

#: question's summary, answer's states, answer's summary
Reading = tuple[Tensor, Tensor, Tensor]


class AnswerModel(LatentModel):
    r"""p(y|q,a): whether answer a (``batch.tokens``) is right (``batch.labels`` 1) for question q (``batch.source``).

    With a latent variable it is the Neural Answer Selection Model of Miao, Yu & Blunsom 2016: h drives the attention
    over the answer's words, and

    .. math:: \log p(y|q,a) \ge E_{q(h|q,a,y)}[\log p(y|q,a,h)] - KL(q(h|q,a,y) \| p(h|q))

    with p(h|q) from tanh(W s_q) and q(h|q,a,y) from tanh(W [s_q; s_a; s_y]), s_y a vector of the label. A text in
    "nats per text" is a pair of question and answer. Without a latent variable (``latent=none``) it is their
    baselines: an LSTM, with attention driven by the question or without.

    One encoder reads both texts. At test time the label is not known: h is the mean of p(h|q), and the figure from 20
    draws of p(h|q) is reported beside.

    Args:
        encoder: reads question and answer. decoder: scores the pair.
        embeddings: ``path`` of word vectors to start from (None: random), and whether to ``train`` them on.
        parts: what every :class:`LatentModel` takes.
    """

    reported: ClassVar[frozenset[str]] = frozenset({"use"})
    sees_labels: ClassVar[bool] = True

    def __init__(
        self, encoder: StateEncoder, decoder: Matcher, embeddings: Mapping[str, Any] | None = None, **parts: Any
    ):
        super().__init__(**parts)
        self.encoder, self.decoder = encoder, decoder
        self.embeddings = dict(embeddings or {})
        self.known: tuple[Batch, Reading] | None = None  # the batch that is being worked on
        width = encoder.width
        if self.latent.dim is not None:
            self.label = nn.Embedding(2, width)
            self.inference = nn.Sequential(nn.Linear(3 * width, width), nn.Tanh())
            self.asked = nn.Sequential(nn.Linear(width, width), nn.Tanh())
        if not self.embeddings.get("train", True):
            encoder.get_submodule("embedding").requires_grad_(False)
        for remedy in self.remedies:
            remedy.attach(self)

    def prepare(self) -> None:
        if path := self.embeddings.get("path"):
            table = self.encoder.get_parameter("embedding.weight")
            vocabulary = cast("Vocabulary", self.vocabulary)
            words = vocabulary.tokens(range(vocabulary.size))
            found = read_vectors(path, words, table.shape[1])
            with torch.no_grad():
                for row, vector in found.items():
                    table[row] = torch.from_numpy(vector)
        super().prepare()

    # --- what is read --------------------------------------------------------------------------------------------

    def read(self, batch: Batch) -> Reading:
        """Question's summary [B, H], answer's states [B, T, H] and summary [B, H]."""
        if self.known is not None and self.known[0] is batch:
            return self.known[1]
        if batch.source is None:
            raise DataError("answers cannot be judged without their questions\ntry  data.columns.source=COLUMN")
        asked = self.encoder(batch.source, (batch.source != PAD).sum(1))
        states = self.encoder.states(batch.tokens, batch.lengths)
        return asked, states, self.encoder.summary(states, batch.lengths)

    @contextlib.contextmanager
    def reading(self, batch: Batch) -> Iterator[None]:
        """Inside, the batch is read once for posterior, prior and likelihood."""
        outer = self.known
        self.known = batch, self.read(batch)
        try:
            yield
        finally:
            self.known = outer

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        # what refines goes backward before the step does, and would free the graph of a reading that both share
        refining = any(type(remedy).refine is not Regularizer.refine for remedy in self.remedies)
        with contextlib.nullcontext() if refining else self.reading(batch):
            return super().training_step(batch, batch_idx)

    def terms(self, batch: Batch, *args: Any, **options: Any) -> Terms:
        with self.reading(batch):
            return super().terms(batch, *args, **options)

    def features(self, batch: Batch) -> Float[Tensor, "B H"]:
        asked, _, answer = self.read(batch)
        if self.latent.dim is None:
            return asked
        return self.inference(torch.cat([asked, answer, self.label(_labels(batch))], -1))

    def condition(self, batch: Batch) -> Float[Tensor, "B C"] | None:
        return None if self.latent.dim is None else self.asked(self.read(batch)[0])

    # --- how it is scored ----------------------------------------------------------------------------------------

    def log_likelihood(
        self, batch: Batch, code: Float[Tensor, "S B W"], inputs: Int[Tensor, "B T_1"] | None = None
    ) -> Float[Tensor, "S B"]:
        """log p(y|q,a,h)."""
        sign = 2 * _labels(batch).to(code.dtype) - 1
        return F.logsigmoid(sign * self.logits(batch, code))

    def logits(self, batch: Batch, code: Float[Tensor, "S B W"]) -> Float[Tensor, "S B"]:
        """Log odds of p(y=1|q,a,h)."""
        return self.decoder(*self.read(batch), _own(batch), code)

    def relevance(self, batch: Batch, draws: int = 0) -> Float[Tensor, " B"]:
        """Log odds of p(y=1|q,a), by which answers are ranked; labels are not looked at.

        Args:
            batch: the pairs.
            draws: of p(h|q), over which p(y=1|q,a,h) is averaged; 0 takes the mean of p(h|q) for h.
        """
        with self.reading(batch):
            logits = self.logits(batch, self._asked_code(batch, draws)).double()
        p = torch.logsumexp(F.logsigmoid(logits), 0), torch.logsumexp(F.logsigmoid(-logits), 0)
        return p[0] - p[1]

    def attention(self, batch: Batch) -> Float[Tensor, "B T"]:
        """The weights of the answer's tokens, at the mean of p(h|q)."""
        with self.reading(batch):
            asked, states, _ = self.read(batch)
            return self.decoder.attend(asked, states, _own(batch), self._asked_code(batch))[0]

    def _asked_code(self, batch: Batch, draws: int = 0) -> Float[Tensor, "S B W"]:
        """The code as far as the question tells it."""
        if self.latent.dim is None:
            return torch.zeros(1, len(batch), 0, device=batch.tokens.device)
        prior = self.latent.prior(self.condition(batch))
        assert prior is not None  # compat refuses latents without
        prior = prior.expand(torch.Size((len(batch),)))  # one that is not conditional is the same for every pair
        return self.latent.code(prior.sample(torch.Size((draws,))) if draws else prior.mean[None])

    def batch(self, texts: Sequence[str]) -> Batch:
        raise RunError("a model of answers reads questions and answers together\ntry  rank(question, answers)")

    @torch.no_grad()
    def rank(self, question: str, answers: Sequence[str]) -> list[tuple[str, float]]:
        asked, *texts = cast("Vocabulary", self.vocabulary).encode([question, *answers])
        odds = self.relevance(Batch.of(texts, [asked] * len(texts)).to(self.device))
        return sorted(zip(answers, odds.sigmoid().tolist(), strict=True), key=lambda pair: -pair[1])

    # --- how it is judged ----------------------------------------------------------------------------------------

    @property
    def monitor(self) -> tuple[str, str]:
        return "map_loss", "1−MAP"

    def judge(self) -> Ranking:
        return _Judge(self)

    def assess(self, splits: Mapping[str, Iterable[Batch]], settings: EvaluationSettings) -> Findings:
        return report(self, splits, settings)

    def inference_parameters(self) -> Iterable[nn.Parameter]:
        """Of q(h|q,a,y) alone; what reads the texts is the generative model's, which needs them too."""
        if self.latent.dim is None:
            return iter(())
        own = (self.label.parameters(), self.inference.parameters(), self.latent.inference_parameters())
        return itertools.chain(*own)


class _Judge(Ranking):
    """:class:`Ranking` by the model's own relevance."""

    def __init__(self, model: AnswerModel):
        super().__init__()
        self.relevance = model.relevance

    def update(self, terms: Terms) -> None:
        batch = terms.batch
        with torch.no_grad():
            self.add(*grouped(batch), self.relevance(batch), _labels(batch))


def _labels(batch: Batch) -> Int[Tensor, " B"]:
    """1 for right answers, 0 for wrong ones."""
    labels = batch.labels
    if labels is None or bool(((labels < 0) | (labels > 1)).any()):
        raise DataError("every answer must be labelled, with one of two labels, the last in order for right ones")
    return labels


def _own(batch: Batch) -> Tensor:
    """True at the answer's own tokens, [B, T]."""
    return torch.arange(batch.tokens.shape[1], device=batch.tokens.device) < batch.lengths[:, None]
