"""Keeps the rate above a minimum, whatever the encoder computes."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from lvexp.errors import ConfigError
from lvexp.models.base import LatentModel
from lvexp.regularizers.base import Regularizer
from lvexp.shapes import Float, Tensor

_ROUNDING = 1e-5  # nats; keeps the rate above δ when it is computed in 32 bits


class Delta(Regularizer):
    r"""δ-VAE: a Gaussian posterior whose rate is at least δ nats in every dimension (Razavi et al. 2019).

    With :math:`R_d = \frac12(\mu^2 + \sigma^2 - 1 - \log\sigma^2)`, the bound :math:`R_d \ge \delta` is

    .. math:: \mu^2 \ge m^2(\sigma) = 2\delta + 1 + \log\sigma^2 - \sigma^2,

    and :math:`m^2 \ge 0` between the two roots :math:`\sigma_l < 1 < \sigma_u` of :math:`\sigma^2 - \log\sigma^2 =
    1 + 2\delta`. The parameters are computed from the encoder's :math:`\hat\mu` and :math:`\hat s` (the log variance):

    .. math:: \sigma = \sigma_l + (\sigma_u - \sigma_l)\,\mathrm{sigmoid}(\hat s), \quad
              \mu = m(\sigma) + \mathrm{softplus}(\hat\mu).

    Means are positive, because a choice between +m and -m would not be continuous. max(0, ·) would satisfy the bound as
    well as the softplus, but a mean that reaches the floor would stay there, because its gradient would be 0.

    A rate of δ means that q differs from p, but not that z carries information about x: q can be the same for every
    text. The mutual information tells the difference.

    Args:
        nats: the committed rate of the whole z, nats per text; δ = nats / D. The paper specifies δ.
    """

    group = "inference"

    def __init__(self, nats: float = 3.2):
        super().__init__()
        if nats <= 0:
            raise ConfigError(
                f"regularizer.delta.nats={nats}: a committed rate is above 0\ntry  regularizer=none for no commitment"
            )
        self.nats = self.floor = nats

    def attach(self, model: LatentModel) -> None:
        assert model.latent.dim is not None  # lvexp.checks rejects all but the Gaussian
        self.delta = self.nats / model.latent.dim
        self.low, self.high = sigma_range(self.delta)

    def constrain(self, params: Float[Tensor, "B P"]) -> Float[Tensor, "B P"]:
        # in 16 bits, the rates of adjacent values of σ are too far apart
        mean, log_variance = params.to(torch.promote_types(params.dtype, torch.float32)).chunk(2, -1)
        sigma = self.low + (self.high - self.low) * log_variance.sigmoid()
        log_variance = 2 * sigma.log()
        floor = (2 * self.delta + 1 + log_variance - sigma**2).clamp(min=0)
        # above 0, so that the gradient of the root is finite at both ends of σ's range
        least = (floor + _ROUNDING * (1 + self.delta)).sqrt()
        return torch.cat([least + F.softplus(mean), log_variance], -1)


def sigma_range(delta: float) -> tuple[float, float]:
    """The two σ at which N(0, σ²) is δ nats from N(0, 1), by bisection over u = log σ²: e^u - u = 1 + 2δ."""
    target = 1 + 2 * delta

    def root(inner: float, outer: float) -> float:
        for _ in range(200):
            middle = (inner + outer) / 2
            inner, outer = (middle, outer) if math.exp(middle) - middle < target else (inner, middle)
        return math.exp(inner / 2)

    # e^u - u grows away from 0 on both sides, and exceeds the target at the outer ends
    return root(0, -target), root(0, math.log(2 * target))
