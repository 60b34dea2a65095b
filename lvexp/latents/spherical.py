"""Base class of latent variables on the unit sphere."""

from __future__ import annotations

import abc
import math

import torch
from torch import nn
from torch.distributions import Distribution
from torch.nn import functional as F

from lvexp.distributions.sphere import Axial, Uniform
from lvexp.latents.base import AbstractLatent
from lvexp.shapes import Float, Shaped, Tensor

_LEAST = 1e-3  # concentration
_MOST = 0.98  # of a coordinate that is shown


class Spherical(AbstractLatent, abc.ABC):
    r""":math:`q(z|x)` about a direction μ(x) on the unit sphere, :math:`p(z)` uniform on it.

    μ is a linear map of the features, normalised; the rate depends on κ alone. With a fixed κ it is the same number
    for every text, which no schedule and no floor changes; a learned κ is the softplus of another linear map.
    Parameters P = D: μ; with a learned κ, D + 1.

    Args:
        features: H, width of the encoder's features.
        dim: D, dimensions of the space that contains the sphere; at least 2.
        kappa: κ, or with ``learned`` its approximate value at the start.
        learned: whether κ is computed for each text.
    """

    units = flat = False

    def __init__(self, features: int, dim: int = 32, kappa: float = 50.0, learned: bool = False):
        super().__init__()
        self.dim = self.width = dim
        self.linear = nn.Linear(features, dim, bias=False)
        self.spread = nn.Linear(features, 1, bias=False) if learned else None
        self.zero: Tensor
        self.kappa: Tensor
        self.register_buffer("zero", torch.zeros(dim), persistent=False)
        self.register_buffer("kappa", torch.tensor(float(kappa)), persistent=False)
        self.shift = kappa + math.log(-math.expm1(-kappa))  # whose softplus is kappa

    @staticmethod
    @abc.abstractmethod
    def about(loc: Float[Tensor, "*batch D"], concentration: Float[Tensor, "*batch"]) -> Axial:
        """The distribution about a direction."""

    def params(self, features: Float[Tensor, "B H"]) -> Float[Tensor, "B P"]:
        loc = F.normalize(self.linear(features), dim=-1)
        if self.spread is None:
            return loc
        return torch.cat([loc, F.softplus(self.spread(features) + self.shift) + _LEAST], -1)

    def posterior(self, params: Float[Tensor, "B P"]) -> Distribution:
        if self.spread is None:
            return self.about(params, self.kappa.expand(params.shape[:-1]))
        return self.about(params[..., :-1], params[..., -1])

    def prior(self, condition: Float[Tensor, "B C"] | None = None) -> Distribution:
        return Uniform(self.zero)

    def code(self, value: Shaped[Tensor, "S B *event"]) -> Float[Tensor, "S B W"]:
        return value

    def point(self, q: Distribution) -> Shaped[Tensor, "B D"]:
        """The direction: a mean lies inside the sphere."""
        assert isinstance(q, Axial)
        return q.loc

    def onto(self, vector: Float[Tensor, "*N D"]) -> Float[Tensor, "*N D"]:
        return F.normalize(vector, dim=-1)

    def moved(self, value: Float[Tensor, " D"], index: int, to: float) -> Float[Tensor, " D"]:
        """The direction with one coordinate as it is asked for; the others keep their proportions."""
        rest = value.clone()
        rest[index] = 0
        return super().moved(math.sqrt(1 - to**2) * F.normalize(rest, dim=-1), index, to)

    def span(self, index: int, values: Float[Tensor, "N D"]) -> tuple[float, float]:
        return -_MOST, _MOST
