"""Sentences read by an encoder and written by a decoder: sentence VAE, auto-encoder and language model in one."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from torch import nn

from lvexp.data.batch import Batch
from lvexp.models.base import LatentModel
from lvexp.networks.base import AbstractDecoder, AbstractEncoder
from lvexp.networks.writing import Decoding, write
from lvexp.reading import Reading
from lvexp.shapes import Float, Int, Tensor


class SentenceModel(LatentModel):
    """p(x|z) by an autoregressive decoder, q(z|x) from an encoder (Bowman et al. 2016).

    The choice of latent makes it a sentence VAE (``latent=gaussian``), a plain auto-encoder (``latent=point``) or a
    language model (``latent=none``).

    Args:
        encoder: reads x. decoder: scores and writes x.
        parts: arguments of every :class:`LatentModel`.
    """

    def __init__(self, encoder: AbstractEncoder, decoder: AbstractDecoder, **parts: Any):
        super().__init__(**parts)
        self.encoder, self.decoder = encoder, decoder

    def read(self, batch: Batch) -> Reading:
        return Reading(self.encoder(batch.tokens, batch.lengths))

    def log_likelihood(
        self, batch: Batch, reading: Reading, code: Float[Tensor, "S B W"], inputs: Int[Tensor, "B T_1"] | None = None
    ) -> Float[Tensor, "S B"]:
        words = batch.inputs if inputs is None else inputs
        return self.decoder(words, batch.targets, batch.lengths, code, reading.memories)

    def write(self, code: Float[Tensor, "N W"], how: Decoding, reading: Reading | None = None) -> list[list[int]]:
        return write(self.decoder, code, how, reading.memories if reading else {}, self.vocabulary.special)

    def inference_parameters(self) -> Iterable[nn.Parameter]:
        return itertools.chain(self.encoder.parameters(), self.latent.inference_parameters())
