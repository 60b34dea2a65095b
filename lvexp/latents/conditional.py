"""A diagonal Gaussian whose prior is also a diagonal Gaussian and depends on a condition."""

from __future__ import annotations

from torch import nn
from torch.distributions import Distribution

from lvexp.distributions.normal import diagonal
from lvexp.latents.base import AbstractLinear
from lvexp.shapes import Float, Shaped, Tensor


class ConditionalGaussian(AbstractLinear):
    r""":math:`q(z|x,c) = N(\mu(x,c), \mathrm{diag}\,\sigma^2(x,c))`, :math:`p(z|c) = N(\mu_p(c), \mathrm{diag}\,
    \sigma_p^2(c))`, both diagonal (Sohn, Lee & Yan 2015; Miao, Yu & Blunsom 2016).

    Means and log variances are a linear map of the features for q, and of the condition for p. Parameters P = 2D:
    means, then log variances.

    Args:
        features: H, width of the encoder's features, and of the condition.
        dim: D, dimensions of z.
        log_variance: approximate initial value for both. The smaller it is, the more a draw tells about the condition.
    """

    def __init__(self, features: int, dim: int = 32, log_variance: float = 0.0):
        super().__init__()
        self.dim = self.width = dim
        self.linear = nn.Linear(features, 2 * dim)
        self.conditional = nn.Linear(features, 2 * dim)
        for layer in (self.linear, self.conditional):
            nn.init.constant_(layer.bias[dim:], log_variance)

    @property
    def has_prior(self) -> bool:
        return True

    def posterior(self, params: Float[Tensor, "B P"]) -> Distribution:
        return diagonal(params)

    def prior(self, condition: Float[Tensor, "B C"] | None = None) -> Distribution:
        """p(z|condition). Raises ValueError without a condition: there is no unconditional prior."""
        if condition is None:
            raise ValueError("this prior is conditional: there is no p(z) without a condition")
        return self.posterior(self.conditional(condition))

    def code(self, value: Shaped[Tensor, "S B *event"]) -> Float[Tensor, "S B W"]:
        return value
