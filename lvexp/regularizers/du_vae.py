"""Keeps means apart and variances from vanishing: diversity and uncertainty."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from lvexp.errors import ConfigError
from lvexp.models.base import LatentModel
from lvexp.regularizers.batch_norm import BatchNorm
from lvexp.shapes import Float, Tensor


class DUVAE(BatchNorm):
    r"""DU-VAE (Shen et al. 2021): batch normalisation of the means, dropout and a floor for the variances.

    Means are normalised over the batch as in :class:`~lvexp.regularizers.batch_norm.BatchNorm`, with a learned scale
    :math:`\gamma_d` for each dimension whose root mean square over the dimensions is γ: the mean rate of a batch is at
    least :math:`D\gamma^2/2` nats, as there. Variances are

    .. math:: \sigma'^2_d = g_d\,\sigma_d^2 + \frac{\alpha}{2\pi e}, \quad g_d = 0 \text{ with probability } p
              \text{, otherwise } \frac1{1-p},

    with g = 1 outside of training; with α = 1 the entropy of a dimension is not negative. As in their released code,
    variances are left alone until the weight of the rate first reaches 1; whether it has is part of the checkpoint.

    Args:
        gamma: γ.
        drop: p.
        alpha: α.
    """

    full: Tensor

    def __init__(self, gamma: float = 0.5, drop: float = 0.2, alpha: float = 1.0):
        super().__init__(gamma)
        if not 0 <= drop < 1 or alpha < 0:
            raise ConfigError(
                f"regularizer.du_vae: drop={drop} alpha={alpha}: drop is a share below 1, alpha is at least 0"
            )
        self.drop, self.least = drop, alpha / (2 * math.pi * math.e)
        self.register_buffer("full", torch.tensor(False))

    def attach(self, model: LatentModel) -> None:
        super().attach(model)
        self.scales = nn.Parameter(torch.ones_like(self.shift))

    @property
    def scale(self) -> Tensor:
        return self.gamma * self.scales * self.scales.square().mean().rsqrt()

    def weigh(self, beta: float) -> float:
        self.full.fill_(self.full | torch.as_tensor(beta >= 1, device=self.full.device))
        return beta

    def constrain(self, params: Float[Tensor, "B P"]) -> Float[Tensor, "B P"]:
        mean, log_variance = super().constrain(params).chunk(2, -1)
        # with α = 0, a variance that was dropped is next to nothing
        variance = F.dropout(log_variance.exp(), self.drop, self.training) + max(self.least, 1e-6)
        return torch.cat([mean, torch.where(self.full, variance.log(), log_variance)], -1)
