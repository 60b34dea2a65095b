"""The power spherical distribution."""

from __future__ import annotations

import math

import torch
from torch.distributions import Beta, register_kl

from lvexp.distributions.sphere import Axial, Uniform, log_area
from lvexp.shapes import Float, Tensor


class PowerSpherical(Axial):
    r""":math:`p(z) \propto (1 + \mu^\top z)^\kappa` on the unit sphere (De Cao & Aziz 2020).

    :math:`(1 + t)/2 \sim \mathrm{Beta}(a, b)` with :math:`a = (D-1)/2 + \kappa`, :math:`b = (D-1)/2`, drawn without
    rejection and differentiated as torch does Beta draws. The density is
    :math:`\mathrm{Beta}(a, b)` of t over the area of the sphere of directions across μ; in closed form

    .. math:: \log p(z) = \kappa \log(1 + t) - (a + b) \log 2 - b \log\pi - \log\Gamma(a) + \log\Gamma(a + b).
    """

    @property
    def _shapes(self) -> tuple[Tensor, Tensor]:
        """a, b."""
        half = (self.dim - 1) / 2
        kappa = self.concentration.double()
        return kappa + half, torch.full_like(kappa, half)

    def _normaliser(self) -> Float[Tensor, "*batch"]:
        a, b = self._shapes
        return (a + b) * math.log(2) + b * math.log(math.pi) + torch.lgamma(a) - torch.lgamma(a + b)

    @property
    def resultant(self) -> Float[Tensor, "*batch"]:
        return self.concentration / (self.concentration + self.dim - 1)

    def divergence(self) -> Float[Tensor, "*batch"]:
        a, b = self._shapes
        expected = math.log(2) + torch.digamma(a) - torch.digamma(a + b)  # E log(1 + t)
        return (self.concentration * expected - self._normaliser() + log_area(self.dim)).to(self.loc)

    def log_prob(self, value: Float[Tensor, "... D"]) -> Float[Tensor, "*shape"]:
        # rounding must not take t to -1, where the density is 0
        t = (value * self.loc).sum(-1).clamp(min=-1 + torch.finfo(value.dtype).eps)
        return self.concentration * t.log1p() - self._normaliser().to(self.loc)

    def along(self, shape: torch.Size) -> Float[Tensor, "*shape"]:
        a, b = self._shapes
        return 2 * Beta(a, b, validate_args=False).rsample(shape[: len(shape) - a.ndim]) - 1


@register_kl(PowerSpherical, Uniform)
def _kl(q: PowerSpherical, p: Uniform) -> Tensor:
    return q.divergence()
