"""The diagonal Gaussian that is the posterior of several latent variables."""

from __future__ import annotations

from torch.distributions import Independent, Normal

from lvexp.shapes import Float, Tensor


def diagonal(params: Float[Tensor, "*batch P"]) -> Independent:
    r""":math:`N(\mu, \mathrm{diag}\,\sigma^2)` over D = P / 2 dimensions, from means and then log variances."""
    mean, log_variance = params.chunk(2, -1)
    return Independent(Normal(mean, (0.5 * log_variance).exp(), validate_args=False), 1, validate_args=False)
