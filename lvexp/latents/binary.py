"""N independent bits."""

from __future__ import annotations

import torch
from torch import nn
from torch.distributions import Bernoulli, Distribution, Independent

from lvexp.errors import ConfigError
from lvexp.latents.base import AbstractLinear
from lvexp.latents.categoricals import PRIORS
from lvexp.shapes import Float, Shaped, Tensor


class Binary(AbstractLinear):
    r""":math:`q(z|x) = \prod_n \mathrm{Bernoulli}(z_n; \sigma(w_n \cdot h(x)))`, N bits.

    The decoder reads -1 for 0, 1 for 1, and a value in between for a relaxed bit. The rate is the exact sum over bits.
    Parameters P = N: logits.

    Args:
        features: H, width of the encoder's features.
        dim: N, number of bits.
        prior: "uniform" (1/2 each), or "learned": its own logits, which belong to the generative model's parameters.
    """

    def __init__(self, features: int, dim: int = 16, prior: str = "uniform"):
        super().__init__()
        if prior not in PRIORS:
            raise ConfigError(f"latent.prior={prior}: it is one of {', '.join(PRIORS)}")
        self.dim = self.width = dim
        self.values = (2,) * dim
        self.linear = nn.Linear(features, dim)
        self.logits: Tensor
        if prior == "learned":
            self.logits = nn.Parameter(torch.zeros(dim))
        else:
            self.register_buffer("logits", torch.zeros(dim), persistent=False)

    def posterior(self, params: Float[Tensor, "B P"]) -> Distribution:
        return self._bits(params)

    def prior(self, condition: Float[Tensor, "B C"] | None = None) -> Distribution:
        return self._bits(self.logits)

    def _bits(self, logits: Float[Tensor, "*batch N"]) -> Distribution:
        return Independent(Bernoulli(logits=logits, validate_args=False), 1, validate_args=False)

    def code(self, value: Shaped[Tensor, "S B N"]) -> Float[Tensor, "S B W"]:
        return 2 * value - 1

    def point(self, q: Distribution) -> Shaped[Tensor, "B N"]:
        return (q.mean > 0.5).to(q.mean)  # torch's mode of a fair bit is nan

    def means(self, q: Distribution) -> None:
        return None

    def marginals(self, q: Distribution) -> Float[Tensor, "B N K"]:
        return torch.stack([1 - q.mean, q.mean], -1)
