"""Keeps the posterior means of different texts apart by batch normalisation."""

from __future__ import annotations

import torch
from torch import nn

from lvexp.errors import ConfigError
from lvexp.models.base import LatentModel
from lvexp.regularizers.base import Regularizer
from lvexp.shapes import Float, Tensor

_EPSILON = 1e-8  # added to the variances: the bound below holds up to ε / (variance of the encoder's means)


class BatchNorm(Regularizer):
    r"""BN-VAE: batch normalisation of the posterior means with fixed scale γ and learned shift b (Zhu et al. 2020).

    .. math:: \mu'_d = \gamma\,\frac{\mu_d - \mathrm{mean}_B\,\mu_d}{\mathrm{sd}_B\,\mu_d} + b_d

    In training the mean rate of a batch is thus at least :math:`\sum_d \frac12(\gamma^2 + b_d^2) \ge D\gamma^2/2` nats,
    because :math:`\sigma^2 - 1 - \log\sigma^2 \ge 0`.

    Evaluation uses the running means and standard deviations of training, so there the bound is approximate. The same
    holds for a training batch of one text, which has no standard deviation. The variance of the means is γ² by
    construction: with γ > 0.1 every unit counts as active, whether z is used or not.

    Args:
        gamma: γ, standard deviation of each dimension's posterior means within a batch.
    """

    group = "inference"

    def __init__(self, gamma: float = 0.6):
        super().__init__()
        if gamma <= 0:
            raise ConfigError(f"regularizer.batch_norm.gamma={gamma}: a standard deviation is above 0")
        self.gamma = gamma

    def attach(self, model: LatentModel) -> None:
        assert model.latent.dim is not None  # lvexp.checks rejects all but the Gaussian
        self.norm = nn.BatchNorm1d(model.latent.dim, eps=_EPSILON, affine=False)
        self.shift = nn.Parameter(torch.zeros(model.latent.dim))

    @property
    def scale(self) -> Tensor | float:
        """γ of each dimension."""
        return self.gamma

    def constrain(self, params: Float[Tensor, "B P"]) -> Float[Tensor, "B P"]:
        mean, log_variance = params.chunk(2, -1)
        if len(mean) > 1:
            normal = self.norm(mean)
        else:
            running, variance = self.norm.running_mean, self.norm.running_var
            normal = nn.functional.batch_norm(mean, running, variance, eps=_EPSILON)
        return torch.cat([self.scale * normal + self.shift, log_variance], -1)
