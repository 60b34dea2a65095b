"""Texts given other texts: the conditional language model of translation, and the same with a latent variable."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import nn

from lvexp.data.batch import Batch
from lvexp.data.features import Features
from lvexp.data.vocabulary import Vocabulary
from lvexp.errors import ConfigError, DataError, RunError
from lvexp.latents.base import AbstractLatent
from lvexp.models.base import LatentModel
from lvexp.networks.base import AbstractDecoder, AbstractEncoder, StateEncoder
from lvexp.networks.writing import Decoding, write
from lvexp.reading import Memory, Reading
from lvexp.shapes import Float, Int, Tensor

POSTERIORS = ("both", "source")
BEST = ("bound", "bleu")


class ConditionalModel(LatentModel):
    r"""p(y|x): a text y (``batch.tokens``) given a source x (``batch.source``).

    Without a latent variable (``latent=none``) it is the conditional language model of neural translation: an encoder
    reads x, and a decoder writes y from x's summary, which is part of the code, and from x's states if it attends.
    With one it is a conditional VAE (Sohn, Lee & Yan 2015; for translation Zhang et al. 2016, VNMT):

    .. math:: \log p(y|x) \ge E_{q(z|x,y)}[\log p(y|x,z)] - KL(q(z|x,y) \| p(z|x))

    q is made from tanh(W [s_x; s_y]), with an encoder of y of its own, and p(z|x) from s_x, where the latent's prior
    is conditional. With ``posterior=source`` q sees x alone, so that z can be inferred at test time; with a standard
    normal prior and ``joint`` the model is p(x, y) = ∫ p(z) p(x|z) p(y|x, z) dz, whose likelihood has the source's
    too (Eikema & Aziz 2019, AEVNMT).

    A text in "nats per text" is a target y; with ``joint``, y and x together.

    Args:
        encoder: reads x. decoder: scores and writes y.
        new_encoder: makes another encoder of the same kind, for y.
        new_decoder: makes another decoder for x, given the width of its code, if ``joint``.
        posterior: "both" (q sees x and y) or "source" (q sees x).
        joint: whether log p(x|z) is part of the likelihood.
        best: what selects the best validation, "bound" or "bleu" (of greedy decoding).
        sources: vocabulary of x, or the shape of its feature vectors; None: that of y.
        rest: what every :class:`LatentModel` takes.
    """

    reported: ClassVar[frozenset[str]] = frozenset({"bound", "likelihood", "use"})
    reads: ClassVar[tuple[str, ...]] = ("source", "text")
    remembers: ClassVar[tuple[str, ...]] = ("source",)

    def __init__(
        self,
        encoder: StateEncoder,
        decoder: AbstractDecoder,
        new_encoder: Callable[[], AbstractEncoder],
        new_decoder: Callable[[int], AbstractDecoder],
        posterior: str = "both",
        joint: bool = False,
        best: str = "bound",
        sources: Vocabulary | Features | None = None,
        **rest: Any,
    ):
        super().__init__(**rest)
        if best not in BEST:
            raise ConfigError(f"model.best={best}: it is one of {', '.join(BEST)}")
        self.sources, self.best = sources or self.vocabulary, best
        if posterior not in POSTERIORS:
            raise ConfigError(f"model.posterior={posterior}: it is one of {', '.join(POSTERIORS)}")
        self.encoder, self.decoder, self.posterior = encoder, decoder, posterior
        self.target: AbstractEncoder | None = None
        if self.latent.dim is not None and posterior == "both":
            self.target = new_encoder()
            self.both = nn.Sequential(nn.Linear(2 * encoder.width, encoder.width), nn.Tanh())
        self.retold = new_decoder(self.latent.width) if joint else None

    @classmethod
    def code_width(cls, latent: AbstractLatent, encoder: nn.Module) -> int:
        width = encoder.width
        assert isinstance(width, int)
        return latent.width + width

    def read(self, batch: Batch) -> Reading:
        if batch.source is None:
            raise DataError("this model writes texts given their sources\ntry  data.columns.source=COLUMN")
        there = batch.sourced
        lengths = there.sum(1)
        states = self.encoder.states(batch.source, lengths)
        source = Memory(states, there, self.encoder.summary(states, lengths))
        features = source.summary
        if self.target is not None:
            features = self.both(torch.cat([source.summary, self.target(batch.tokens, batch.lengths)], -1))
        return Reading(features, source.summary, {"source": source})

    def log_likelihood(
        self, batch: Batch, reading: Reading, code: Float[Tensor, "S B W"], inputs: Int[Tensor, "B T_1"] | None = None
    ) -> Float[Tensor, "S B"]:
        words = batch.inputs if inputs is None else inputs
        found = self.decoder(words, batch.targets, batch.lengths, self._beside(code, reading), reading.memories)
        if self.retold is None:
            return found
        assert batch.source is not None
        lengths = reading.memories["source"].mask.sum(1)
        return found + self.retold(batch.source[:, :-1], batch.source[:, 1:], lengths, code)

    @staticmethod
    def _beside(code: Float[Tensor, "S B W"], reading: Reading) -> Float[Tensor, "S B V"]:
        """z's code and the source's summary."""
        summary = reading.memories["source"].summary
        return torch.cat([code, summary.expand(len(code), -1, -1).to(code.dtype)], -1)

    def attended(self, batch: Batch, reading: Reading, code: Float[Tensor, "B W"]) -> Float[Tensor, "B T_1 L"] | None:
        """The weights of the source's states at each position of the texts; None without attention."""
        found = self.decoder.attended(batch.inputs, self._beside(code[None], reading), reading.memories)
        return None if found is None else found[0]

    def write(self, code: Float[Tensor, "N W"], how: Decoding, reading: Reading | None = None) -> list[list[int]]:
        if reading is None:
            raise RunError("this model writes texts given their sources\ntry  write(sources) | decode(z, sources=[…])")
        code = self._beside(code[None], reading)[0]
        return write(self.decoder, code, how, reading.memories, self.vocabulary.special)

    def code(self, reading: Reading, draw: bool = False) -> Float[Tensor, "B W"]:
        """As for every model; from q(z|x) if q sees the source alone."""
        if self.latent.dim is None or self.posterior == "both":
            return super().code(reading, draw)
        q = self.latent.posterior(self.params(reading))
        return self.latent.code((q.sample() if draw else self.latent.point(q))[None])[0]

    @property
    def monitor(self) -> tuple[str, str]:
        return ("bleu_loss", "100−BLEU") if self.best == "bleu" else super().monitor

    def inference_parameters(self) -> Iterable[nn.Parameter]:
        """Of q(z|x,y) alone; what reads x is the generative model's, which needs it too."""
        own = [] if self.target is None else [self.target.parameters(), self.both.parameters()]
        return itertools.chain(*own, self.latent.inference_parameters())
