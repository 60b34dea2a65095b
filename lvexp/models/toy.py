"""The opening of the lecture: a VAE of points in the plane (Doersch 2016)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import nn

from lvexp.data.batch import Batch
from lvexp.models.base import LatentModel
from lvexp.networks.base import AbstractEncoder
from lvexp.networks.gaussian import GaussianDecoder
from lvexp.reading import Reading
from lvexp.shapes import Float, Int, Tensor


class ToyModel(LatentModel):
    r"""p(x) = ∫ N(x; f(z; θ), σ² I) N(z; 0, I) dz for feature vectors x, with q(z|x) from an encoder (Doersch 2016,
    "Tutorial on Variational Autoencoders", sections 1.1 and 2).

    Args:
        encoder: reads x. decoder: scores it.
        parts: arguments of every :class:`LatentModel`; the vocabulary is the shape of the vectors.
    """

    reported: ClassVar[frozenset[str]] = frozenset({"bound", "likelihood", "use"})
    writes: ClassVar[bool] = False
    unit: ClassVar[str] = "point"
    offers: ClassVar[tuple[str, ...]] = ("draw",)

    def __init__(self, encoder: AbstractEncoder, decoder: GaussianDecoder, **parts: Any):
        super().__init__(**parts)
        self.encoder, self.decoder = encoder, decoder

    def read(self, batch: Batch) -> Reading:
        x = self.vectors(batch)
        return Reading(self.encoder(x[:, None], torch.ones_like(batch.lengths)))

    def log_likelihood(
        self, batch: Batch, reading: Reading, code: Float[Tensor, "S B W"], inputs: Int[Tensor, "B T_1"] | None = None
    ) -> Float[Tensor, "S B"]:
        return self.decoder(self.vectors(batch), code)

    @staticmethod
    def vectors(batch: Batch) -> Float[Tensor, "B F"]:
        """x."""
        assert batch.vectors is not None, "lvexp.checks rejects corpora without vectors"
        return batch.vectors[:, 0]

    def log_p(self, x: Float[Tensor, "N F"], z: Float[Tensor, "M D"]) -> Float[Tensor, "M N"]:
        """log p(x|z) of each point under each z, nats."""
        mean = self.decoder.mean(self.latent.code(z[None])[0])
        return self.decoder.log_density(x, mean[:, None])

    @torch.no_grad()
    def draw(self, count: int, noise: bool = True) -> Float[Tensor, "N F"]:
        """Points from the model: f(z) for z from the prior, and with ``noise`` σ times a standard normal draw."""
        prior = self.latent.prior()
        assert prior is not None, "the configuration requires a rate"
        mean = self.decoder.mean(self.latent.code(prior.sample(torch.Size((count,)))[None])[0])
        return mean + self.decoder.sigma * torch.randn_like(mean) if noise else mean

    def inference_parameters(self) -> Iterable[nn.Parameter]:
        return itertools.chain(self.encoder.parameters(), self.latent.inference_parameters())
