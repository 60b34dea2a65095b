"""Two layers of Gaussians."""

from __future__ import annotations

import functools

import torch
from torch import nn
from torch.distributions import Distribution, Independent, Normal

from lvexp.distributions.chain import Chain
from lvexp.distributions.normal import diagonal
from lvexp.latents.base import AbstractLinear
from lvexp.shapes import Float, Shaped, Tensor


class Ladder(AbstractLinear):
    r""":math:`p(z) = p(z_2)\, p(z_1|z_2)` and :math:`q(z|x) = q(z_2|x)\, q(z_1|x, z_2)` (Sønderby et al. 2016, ladder
    VAE, with two layers). The decoder reads :math:`z_1`.

    .. math:: p(z_2) = N(0, I), \qquad p(z_1|z_2) = N(m(z_2), v(z_2)), \qquad
              q(z_1|x, z_2) \propto N(z_1; \hat m(x), \hat v(x))\; p(z_1|z_2)

    all diagonal, so that the last is a Gaussian with the sum of the two precisions and the means weighted by them. m
    and log v come from one hidden layer of tanh units; :math:`\hat m`, :math:`\log \hat v` and the parameters of
    :math:`q(z_2|x)` are linear maps of the features, with bias.

    The rate is :math:`KL(q(z_2|x) \| p(z_2)) + E_{q(z_2|x)} KL(q(z_1|x, z_2) \| p(z_1|z_2))`; both divergences are in
    closed form, the expectation is over draws. The mean of q(z_1|x) has no closed form, so active units are not
    counted. Parameters P = 2 (D₂ + D₁): means and log variances of :math:`q(z_2|x)`, :math:`\hat m` and
    :math:`\log \hat v`. A value is z₂, then z₁.

    Args:
        features: H, width of the encoder's features.
        dim: D₁, dimensions of z₁. top: D₂, dimensions of z₂.
        hidden: hidden units between z₂ and z₁.
    """

    units = False

    def __init__(self, features: int, dim: int = 32, top: int = 16, hidden: int = 64):
        super().__init__()
        self.width, self.top, self.dim = dim, top, top + dim
        self.linear = nn.Linear(features, 2 * (top + dim))
        self.down = nn.Sequential(nn.Linear(top, hidden), nn.Tanh(), nn.Linear(hidden, 2 * dim))
        self.zero: Tensor
        self.register_buffer("zero", torch.zeros(top), persistent=False)

    def posterior(self, params: Float[Tensor, "B P"]) -> Chain:
        own, message = params.split([2 * self.top, 2 * self.width], -1)
        return Chain(diagonal(own), functools.partial(self._merged, message), self.width)

    def prior(self, condition: Float[Tensor, "B C"] | None = None) -> Chain:
        first = Independent(Normal(self.zero, self.zero + 1, validate_args=False), 1, validate_args=False)
        return Chain(first, self._below, self.width)

    def _below(self, z2: Float[Tensor, "... D_2"]) -> Independent:
        """p(z₁|z₂)."""
        return diagonal(self.down(z2))

    def _merged(self, message: Float[Tensor, "B M"], z2: Float[Tensor, "... D_2"]) -> Independent:
        """q(z₁|x, z₂)."""
        seen, seen_log_variance = message.chunk(2, -1)
        mean, log_variance = self.down(z2).chunk(2, -1)
        share = (log_variance - seen_log_variance).sigmoid()  # of the sum of the precisions
        log_sum = torch.logaddexp(-seen_log_variance, -log_variance)
        return diagonal(torch.cat([mean + share * (seen - mean), -log_sum], -1))

    def code(self, value: Shaped[Tensor, "S B D"]) -> Float[Tensor, "S B W"]:
        return value[..., self.top :]

    def point(self, q: Distribution) -> Shaped[Tensor, "B D"]:
        """The mean of z₂, and that of z₁ given it."""
        assert isinstance(q, Chain)
        return torch.cat([q.first.mean, q.second(q.first.mean).mean], -1)

    def moved(self, value: Shaped[Tensor, " D"], index: int, to: float) -> Shaped[Tensor, " D"]:
        """With a dimension of z₂, z₁ moves as the mean of p(z₁|z₂) does."""
        moved = super().moved(value, index, to)
        if index < self.top:
            moved[self.top :] += self._below(moved[: self.top]).mean - self._below(value[: self.top]).mean
        return moved

    def means(self, q: Distribution) -> None:
        return None
