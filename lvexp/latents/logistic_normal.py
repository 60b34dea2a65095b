"""Proportions computed from a Gaussian: the logistic-normal approximation of a Dirichlet."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.distributions import Distribution, Independent, Normal

from lvexp.distributions.normal import diagonal
from lvexp.latents.base import AbstractLatent
from lvexp.networks.standardise import Standardise
from lvexp.shapes import Float, Shaped, Tensor


class LogisticNormal(AbstractLatent):
    r""":math:`z \sim N`, read as proportions softmax(z), with the Laplace approximation of a symmetric Dirichlet prior
    (Srivastava & Sutton 2017).

    .. math:: q(z|x) = N(\mu(x), \mathrm{diag}\,\sigma^2(x)), \qquad p(z) = N\big(0, \tfrac1\alpha(1 - \tfrac1D)\,I\big)

    which equals :math:`\frac1\alpha(1 - \frac2D) + \frac1{D^2}\sum_k \frac1\alpha` in the paper's notation. μ and log
    σ² are linear maps of the features, each standardised over the batch as in the released code. Parameters P = 2D:
    means, then log variances.

    Args:
        features: H, width of the encoder's features.
        dim: D, topics.
        alpha: concentration of the Dirichlet that the prior approximates.
        batch_norm: whether μ and log σ² are standardised.
    """

    def __init__(self, features: int, dim: int = 50, alpha: float = 1.0, batch_norm: bool = True):
        super().__init__()
        self.dim = self.width = dim
        self.linear = nn.Linear(features, 2 * dim)
        self.norm = Standardise(2 * dim) if batch_norm else nn.Identity()
        self.zero: Tensor
        self.register_buffer("zero", torch.zeros(dim), persistent=False)
        self.deviation = math.sqrt((1 - 1 / dim) / alpha) if dim > 1 else 1.0  # a single topic has no proportions

    def params(self, features: Float[Tensor, "B H"]) -> Float[Tensor, "B P"]:
        return self.norm(self.linear(features))

    def posterior(self, params: Float[Tensor, "B P"]) -> Distribution:
        return diagonal(params)

    def prior(self, condition: Float[Tensor, "B C"] | None = None) -> Distribution:
        return Independent(Normal(self.zero, self.zero + self.deviation, validate_args=False), 1, validate_args=False)

    def code(self, value: Shaped[Tensor, "S B *event"]) -> Float[Tensor, "S B W"]:
        return value.softmax(-1)
