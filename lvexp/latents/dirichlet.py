"""Proportions with a Dirichlet distribution."""

from __future__ import annotations

import torch
from torch import nn
from torch.distributions import Dirichlet as Proportions
from torch.distributions import Distribution

from lvexp.latents.base import AbstractLatent
from lvexp.networks.standardise import Standardise
from lvexp.shapes import Float, Shaped, Tensor

_LEAST = 0.02  # concentration: with less, draws are so close to a corner that their density overflows


class Dirichlet(AbstractLatent):
    r""":math:`q(z|x) = \mathrm{Dir}(a(x))`, :math:`p(z) = \mathrm{Dir}(\alpha, \dots, \alpha)`.

    Draws are reparameterised implicitly (Figurnov et al. 2018, as implemented in torch); the rate is in closed form. a
    is the softplus of a linear map of the features, standardised over the batch as in Burkhardt & Kramer 2019, plus
    0.02. Parameters P = D: a.

    Args:
        features: H, width of the encoder's features.
        dim: D, topics; at least 2.
        alpha: concentration of the prior.
        batch_norm: whether the linear map's outputs are standardised.
    """

    flat = False

    def __init__(self, features: int, dim: int = 50, alpha: float = 0.1, batch_norm: bool = True):
        super().__init__()
        self.dim = self.width = dim
        self.linear = nn.Linear(features, dim)
        self.norm = Standardise(dim) if batch_norm else nn.Identity()
        self.alpha: Tensor
        self.register_buffer("alpha", torch.full((dim,), float(alpha)), persistent=False)

    def params(self, features: Float[Tensor, "B H"]) -> Float[Tensor, "B P"]:
        return nn.functional.softplus(self.norm(self.linear(features))) + _LEAST

    def posterior(self, params: Float[Tensor, "B P"]) -> Distribution:
        return _Inside(params, validate_args=False)

    def prior(self, condition: Float[Tensor, "B C"] | None = None) -> Distribution:
        return _Inside(self.alpha, validate_args=False)

    def code(self, value: Shaped[Tensor, "S B *event"]) -> Float[Tensor, "S B W"]:
        return value

    def onto(self, vector: Float[Tensor, "*N D"]) -> Float[Tensor, "*N D"]:
        """The positive entries, in proportion."""
        kept = vector.clamp(min=torch.finfo(torch.float32).tiny)
        return kept / kept.sum(-1, keepdim=True)

    def moved(self, value: Float[Tensor, " D"], index: int, to: float) -> Float[Tensor, " D"]:
        """The proportions with one as it is asked for; the others keep theirs to each other."""
        rest = value.clone()
        rest[index] = 0
        return super().moved((1 - to) * self.onto(rest), index, to)

    def span(self, index: int, values: Float[Tensor, "N D"]) -> tuple[float, float]:
        return 0.02, 0.98


class _Inside(Proportions):
    """A Dirichlet whose draws stay away from the border, where the density is infinite in float32."""

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = torch.Size()) -> Tensor:  # noqa: B008
        return super().rsample(torch.Size(sample_shape)).clamp(min=torch.finfo(torch.float32).tiny)
