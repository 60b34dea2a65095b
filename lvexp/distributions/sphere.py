"""The unit sphere: its uniform distribution, and distributions that are symmetric about a direction."""

from __future__ import annotations

import abc
import math

import torch
from torch.distributions import Distribution
from torch.nn import functional as F

from lvexp.shapes import Float, Tensor


def log_area(dim: int) -> float:
    r"""Log of the area of the unit sphere in D dimensions, :math:`2 \pi^{D/2} / \Gamma(D/2)`."""
    return math.log(2) + dim / 2 * math.log(math.pi) - math.lgamma(dim / 2)


class Uniform(Distribution):
    """The uniform distribution on the unit sphere.

    Args:
        zero: zeros, [*batch, D]; they determine shape, device and precision.
    """

    has_rsample = True

    def __init__(self, zero: Float[Tensor, "*batch D"]):
        self.zero = zero
        super().__init__(zero.shape[:-1], zero.shape[-1:], validate_args=False)

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        return F.normalize(torch.randn_like(self.zero.expand(*sample_shape, *self.zero.shape)), dim=-1)

    def log_prob(self, value: Float[Tensor, "*shape D"]) -> Float[Tensor, "*shape"]:
        return value.new_full(value.shape[:-1], -log_area(value.shape[-1]))

    def expand(self, batch_shape: torch.Size | tuple[int, ...], _instance: Uniform | None = None) -> Uniform:
        return Uniform(self.zero.expand(*batch_shape, -1))

    @property
    def mean(self) -> Tensor:
        return self.zero


class Axial(Distribution, abc.ABC):
    r"""A density on the unit sphere that depends on :math:`t = \mu^\top z` alone.

    A draw is t from its marginal distribution and, independently, a uniform direction orthogonal to μ (Ulrich 1984).
    The first coordinate becomes that along μ by a reflection (Davidson et al. 2018, algorithm 1), through which the
    gradient with respect to μ flows.

    Args:
        loc: μ, unit vectors, [*batch, D], D ≥ 2.
        concentration: κ > 0, [*batch].
    """

    has_rsample = True

    def __init__(self, loc: Float[Tensor, "*batch D"], concentration: Float[Tensor, "*batch"]):
        self.loc, self.concentration = loc, concentration
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=False)

    @property
    def dim(self) -> int:
        return self.event_shape[0]

    @abc.abstractmethod
    def along(self, shape: torch.Size) -> Float[Tensor, "*shape"]:
        """Reparameterised draws of t, in 64 bits."""

    @property
    @abc.abstractmethod
    def resultant(self) -> Float[Tensor, "*batch"]:
        """E[t], the length of the mean."""

    @abc.abstractmethod
    def divergence(self) -> Float[Tensor, "*batch"]:
        """KL from the uniform distribution, nats."""

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        shape = torch.Size((*sample_shape, *self.batch_shape))
        t = self.along(shape)
        across = F.normalize(torch.randn(*shape, self.dim - 1, dtype=t.dtype, device=t.device), dim=-1)
        value = torch.cat([t[..., None], (1 - t.square()).clamp(min=0).sqrt()[..., None] * across], -1).to(self.loc)
        first = torch.zeros_like(self.loc)
        first[..., 0] = 1
        mirror = F.normalize(first - self.loc, dim=-1)
        return value - 2 * (value * mirror).sum(-1, keepdim=True) * mirror

    @property
    def mean(self) -> Tensor:
        return self.resultant[..., None] * self.loc
