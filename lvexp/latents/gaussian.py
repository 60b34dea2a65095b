"""The diagonal Gaussian."""

from __future__ import annotations

import torch
from torch import nn
from torch.distributions import Distribution, Independent, Normal

from lvexp.distributions.normal import diagonal
from lvexp.latents.base import AbstractLinear
from lvexp.priors.base import AbstractPrior
from lvexp.shapes import Float, Shaped, Tensor


class Gaussian(AbstractLinear):
    r""":math:`q(z|x) = N(\mu(x), \mathrm{diag}\,\sigma^2(x))`, :math:`p(z) = N(0, I)` (Kingma & Welling 2014, app. B),
    or a prior that is chosen beside it (:mod:`lvexp.priors`).

    μ and log σ² are a linear map of the features, without bias (He et al. 2019). Parameters P = 2D: means, then log
    variances.

    Args:
        features: H, width of the encoder's features.
        dim: D, dimensions of z.
    """

    def __init__(self, features: int, dim: int = 32):
        super().__init__()
        self.dim = self.width = dim
        self.linear = nn.Linear(features, 2 * dim, bias=False)
        self.given: AbstractPrior | None = None
        self.zero: Tensor
        self.register_buffer("zero", torch.zeros(dim), persistent=False)

    @property
    def has_prior(self) -> bool:
        return True

    def give(self, prior: AbstractPrior) -> None:
        self.given = prior

    def params(self, features: Float[Tensor, "B H"]) -> Float[Tensor, "B P"]:
        params = super().params(features)
        return params if self.given is None else self.given.placed(params)

    def posterior(self, params: Float[Tensor, "B P"]) -> Distribution:
        return diagonal(params)

    def prior(self, condition: Float[Tensor, "B C"] | None = None) -> Distribution:
        if self.given is not None:
            return self.given()
        return Independent(Normal(self.zero, self.zero + 1, validate_args=False), 1, validate_args=False)

    def code(self, value: Shaped[Tensor, "S B *event"]) -> Float[Tensor, "S B W"]:
        return value
