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
from lvexp.shapes import Float, Int, Tensor


class SentenceModel(LatentModel):
    """p(x|z) by an autoregressive decoder, q(z|x) from an encoder (Bowman et al. 2016).

    The choice of latent makes it a sentence VAE (``latent=gaussian``), a plain auto-encoder (``latent=point``) or a
    language model (``latent=none``).

    Args:
        encoder: reads x. decoder: scores and writes x.
        parts: what every :class:`LatentModel` takes.
    """

    def __init__(self, encoder: AbstractEncoder, decoder: AbstractDecoder, **parts: Any):
        super().__init__(**parts)
        self.encoder, self.decoder = encoder, decoder
        for remedy in self.remedies:
            remedy.attach(self)

    def features(self, batch: Batch) -> Float[Tensor, "B H"]:
        return self.encoder(batch.tokens, batch.lengths)

    def log_likelihood(
        self, batch: Batch, code: Float[Tensor, "S B W"], inputs: Int[Tensor, "B T_1"] | None = None
    ) -> Float[Tensor, "S B"]:
        return self.decoder(batch.inputs if inputs is None else inputs, batch.targets, batch.lengths, code)

    def generate(self, code: Float[Tensor, "N W"], how: Decoding) -> list[list[int]]:
        return write(self.decoder, code, how)

    def inference_parameters(self) -> Iterable[nn.Parameter]:
        return itertools.chain(self.encoder.parameters(), self.latent.inference_parameters())
