"""The aggregate posterior of learned pseudo-inputs."""

from __future__ import annotations

import statistics

import torch
from torch import nn
from torch.distributions import Categorical, MixtureSameFamily

from lvexp.data.special import SPECIAL, Special
from lvexp.errors import ConfigError
from lvexp.latents.base import AbstractLatent
from lvexp.networks.base import AbstractEncoder, WordVectors
from lvexp.priors.base import AbstractPrior
from lvexp.shapes import Float, Int, Tensor


class Vamp(AbstractPrior):
    r""":math:`p(z) = \frac1K \sum_k q(z|u_k)` (Tomczak & Welling 2018, VampPrior).

    A pseudo-input :math:`u_k` is a sequence of word vectors of its own, which the model's encoder reads in place of
    those of words; at first they are the vectors of random words, between those of ``<bos>`` and ``<eos>``. All of them
    are read again in each step. Their lengths do not change: they are the quantiles of a normal distribution, at least
    one word each.

    Args:
        dim: D, dimensions of z.
        reader: the model's encoder, not a part of this module.
        inference: the latent variable, which computes q(z|x) from features; not a part of this module.
        components: K.
        length: mean number of tokens, ``<bos>`` and ``<eos>`` included.
        deviation: standard deviation of the lengths.
        special: tokens of the vocabulary.
    """

    def __init__(
        self,
        dim: int,
        reader: AbstractEncoder,
        inference: AbstractLatent,
        components: int = 100,
        length: float = 11.0,
        deviation: float = 3.0,
        special: Special = SPECIAL,
    ):
        super().__init__()
        words = next((part for part in reader.modules() if isinstance(part, WordVectors)), None)
        if words is None or words.num_embeddings == words.embedding_dim:
            lacks = "has no word vectors" if words is None else "has word vectors as wide as the vocabulary is large"
            raise ConfigError(f"prior=vamp: the encoder {lacks}\ntry  prior=mixture | another encoder.embedding")
        self.of = (reader, inference)  # in a tuple, so that they do not become submodules
        lengths = torch.tensor([max(3, round(length + deviation * part)) for part in _quantiles(components)])
        self.lengths: Tensor
        self.register_buffer("lengths", lengths)
        tokens = torch.randint(words.num_embeddings, (components, int(lengths.max())))
        tokens[:, 0] = special.bos
        tokens[torch.arange(components), lengths - 1] = special.eos
        self.inputs = nn.Parameter(words.weight.detach()[tokens])

    def read(self, inputs: Float[Tensor, "K T E"], lengths: Int[Tensor, " K"]) -> MixtureSameFamily:
        """The aggregate posterior of sequences of word vectors."""
        encoder, latent = self.of
        q = latent.posterior(latent.params(encoder(inputs, lengths)))
        equal = Categorical(logits=inputs.new_zeros(len(inputs)), validate_args=False)
        return MixtureSameFamily(equal, q, validate_args=False)

    def forward(self) -> MixtureSameFamily:
        return self.read(self.inputs, self.lengths)


def _quantiles(count: int) -> list[float]:
    """Evenly spaced quantiles of N(0, 1)."""
    normal = statistics.NormalDist()
    return [normal.inv_cdf((at + 0.5) / count) for at in range(count)]
