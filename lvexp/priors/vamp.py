"""The aggregate posterior of learned pseudo-inputs."""

from __future__ import annotations

import statistics

import torch
from torch import nn
from torch.distributions import Categorical, MixtureSameFamily

from lvexp.data.special import SPECIAL, Special
from lvexp.errors import ConfigError
from lvexp.latents.gaussian import Gaussian
from lvexp.networks.base import AbstractEncoder, WordVectors
from lvexp.priors.base import AbstractPrior
from lvexp.shapes import Float, Tensor


class Vamp(AbstractPrior):
    r""":math:`p(z) = \frac1K \sum_k q(z|u_k)` (Tomczak & Welling 2018, VampPrior).

    A pseudo-input :math:`u_k` is a sequence of word vectors of its own, which the model's encoder reads in place of
    those of words; at first they are the vectors of random words, between those of ``<bos>`` and ``<eos>``. All of them
    are read again in each step. Their lengths do not change: they are the quantiles of a normal distribution, at least
    one word each.

    The rate does not change if z is shifted or stretched, since p(z) moves with q(z|x). If ``standardised``, z is
    therefore :math:`(z' - m) / s`, with mean m and standard deviation s of :math:`\frac1K \sum_k q(z'|u_k)` in each
    dimension: another parametrisation of the same model. Without, training may drive z far from 0 (docs/priors.md).

    Args:
        dim: D, dimensions of z.
        reader: the model's encoder, not a part of this module.
        inference: the latent variable, which computes q(z|x) from features; not a part of this module.
        components: K.
        length: mean number of tokens, ``<bos>`` and ``<eos>`` included.
        deviation: standard deviation of the lengths.
        standardised: whether p(z) has mean 0 and variance 1 in each dimension, before the transformations of an
            inverse autoregressive posterior.
        special: tokens of the vocabulary.
    """

    def __init__(
        self,
        dim: int,
        reader: AbstractEncoder,
        inference: Gaussian,
        components: int = 100,
        length: float = 11.0,
        deviation: float = 3.0,
        standardised: bool = False,
        special: Special = SPECIAL,
    ):
        super().__init__()
        words = next((part for part in reader.modules() if isinstance(part, WordVectors)), None)
        if words is None or words.num_embeddings == words.embedding_dim:
            lacks = "has no word vectors" if words is None else "has word vectors as wide as the vocabulary is large"
            raise ConfigError(f"prior=vamp: the encoder {lacks}\ntry  prior=mixture | another encoder.embedding")
        self.standardised = standardised
        self.of = (reader, inference)  # in a tuple, so that they do not become submodules
        lengths = torch.tensor([max(3, round(length + deviation * part)) for part in _quantiles(components)])
        self.lengths: Tensor
        self.register_buffer("lengths", lengths)
        tokens = torch.randint(words.num_embeddings, (components, int(lengths.max())))
        tokens[:, 0] = special.bos
        tokens[torch.arange(components), lengths - 1] = special.eos
        self.inputs = nn.Parameter(words.weight.detach()[tokens])

    def _params(self) -> Float[Tensor, "K P"]:
        """The parameters of q(z|u_k), in the coordinates of the encoder."""
        encoder, latent = self.of
        return latent.linear(encoder(self.inputs, self.lengths))

    def _in(self, own: Float[Tensor, "K P"], params: Float[Tensor, "B P"]) -> Float[Tensor, "B P"]:
        """Parameters in the coordinates of the prior, given those of q(z|u_k) before."""
        if not self.standardised:
            return params
        dim = self.of[1].width
        means, log_variances = own[:, :dim], own[:, dim : 2 * dim]
        variance = means.var(0, correction=0) + log_variances.exp().mean(0)
        mean, log_variance, rest = params.split([dim, dim, params.shape[-1] - 2 * dim], -1)
        return torch.cat([(mean - means.mean(0)) * variance.rsqrt(), log_variance - variance.log(), rest], -1)

    def placed(self, params: Float[Tensor, "B P"]) -> Float[Tensor, "B P"]:
        return self._in(self._params(), params) if self.standardised else params

    def forward(self) -> MixtureSameFamily:
        own = self._params()
        equal = Categorical(logits=own.new_zeros(len(own)), validate_args=False)
        return MixtureSameFamily(equal, self.of[1].posterior(self._in(own, own)), validate_args=False)


def _quantiles(count: int) -> list[float]:
    """Evenly spaced quantiles of N(0, 1)."""
    normal = statistics.NormalDist()
    return [normal.inv_cdf((at + 0.5) / count) for at in range(count)]
