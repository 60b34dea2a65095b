"""The von Mises-Fisher distribution."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch.distributions import Beta, register_kl

from lvexp.distributions.sphere import Axial, Uniform, log_area
from lvexp.shapes import Float, Tensor

_NODES = 64  # of the Gauss-Legendre quadrature of the gradient
_REACH = 12.0  # standard deviations that the quadrature covers


class VonMisesFisher(Axial):
    r""":math:`p(z) = C_D(\kappa) \exp(\kappa\,\mu^\top z)` on the unit sphere.

    Everything follows from one function, with :math:`\nu = D/2 - 1`:

    .. math:: F(\kappa) = \log {}_0F_1(\nu + 1, \kappa^2/4)
              = \log \sum_k \frac{\Gamma(\nu + 1)}{k!\,\Gamma(\nu + 1 + k)} \Big(\frac\kappa2\Big)^{2k},

    which is :math:`\log I_\nu(\kappa) - \nu \log(\kappa/2) + \log\Gamma(\nu + 1)`. All terms are positive, so the sum
    in logs neither cancels nor overflows, for any D and κ. Then :math:`\log C_D(\kappa) = \log C_D(0) - F(\kappa)`, the
    mean has the length :math:`A = F'(\kappa) = I_{D/2}(\kappa) / I_{D/2-1}(\kappa)`, and
    :math:`KL(p \| \mathrm{uniform}) = \kappa A - F`.

    t is drawn by rejection (Wood 1994, algorithm VM*). Its gradient with respect to κ is the implicit one (Figurnov et
    al. 2018), :math:`\partial t/\partial\kappa = -\partial_\kappa P(t) / p(t)`, with the derivative of the distribution
    function P by quadrature. It is unbiased up to the error of the quadrature (relative, below 1e-6). Davidson et al.
    2018 differentiate the accepted proposal instead and correct for the acceptance by a score function, which is
    unbiased too, with more variance. With a fixed κ only μ has a gradient.
    """

    def _terms(self) -> tuple[Float[Tensor, " K"], Float[Tensor, "*batch K"]]:
        """k, and the logs of the terms of the sum in F."""
        kappa, start = self.concentration.double(), self.dim / 2
        most = float(kappa.detach().max()) / 2 if kappa.numel() else 0.0
        k = torch.arange(int(most + 12 * math.sqrt(most) + 32), dtype=torch.float64, device=kappa.device)
        constant = math.lgamma(start) - torch.lgamma(k + 1) - torch.lgamma(k + start)
        return k, 2 * k * (kappa[..., None] / 2).log() + constant

    @property
    def _a(self) -> Float[Tensor, "*batch"]:
        k, terms = self._terms()
        return 2 * (terms.softmax(-1) * k).sum(-1) / self.concentration.double()

    @property
    def resultant(self) -> Float[Tensor, "*batch"]:
        return self._a.to(self.loc)

    def divergence(self) -> Float[Tensor, "*batch"]:
        k, terms = self._terms()
        return (2 * (terms.softmax(-1) * k).sum(-1) - terms.logsumexp(-1)).to(self.loc)

    def log_prob(self, value: Float[Tensor, "... D"]) -> Float[Tensor, "*shape"]:
        normaliser = (self._terms()[1].logsumexp(-1) + log_area(self.dim)).to(self.loc)
        return self.concentration * (value * self.loc).sum(-1) - normaliser

    def along(self, shape: torch.Size) -> Float[Tensor, "*shape"]:
        kappa = self.concentration.double().expand(shape)
        t = _accepted(kappa.detach(), self.dim)
        if not kappa.requires_grad:
            return t
        with torch.no_grad():
            slope = _slope(t, kappa, self._a.expand(shape), self.dim)
        return t + slope * (kappa - kappa.detach())


@torch.no_grad()
def _accepted(kappa: Float[Tensor, "*shape"], dim: int) -> Float[Tensor, "*shape"]:
    """Draws of t by rejection; the share of accepted proposals is above 0.6."""
    flat, most = kappa.reshape(-1), dim - 1
    b = most / (2 * flat + (4 * flat.square() + most**2).sqrt())
    middle = (1 - b) / (1 + b)
    least = flat * middle + most * (1 - middle.square()).log()
    t, left = torch.empty_like(flat), torch.arange(len(flat), device=flat.device)
    proposal = Beta(flat.new_tensor(most / 2), flat.new_tensor(most / 2), validate_args=False)
    while len(left):
        epsilon, own = proposal.sample(left.shape), b[left]
        w = (1 - (1 + own) * epsilon) / (1 - (1 - own) * epsilon)
        t[left] = w
        level = flat[left] * w + most * (1 - middle[left] * w).log() - least[left]
        left = left[level < torch.rand_like(w).log()]
    return t.view(kappa.shape)


@functools.cache
def _rule() -> tuple[Tensor, Tensor]:
    """Nodes and weights of the quadrature on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return torch.from_numpy((nodes + 1) / 2), torch.from_numpy(weights / 2)


def _slope(t: Tensor, kappa: Tensor, a: Tensor, dim: int) -> Float[Tensor, "*shape"]:
    r"""dt/dκ for a fixed value of the distribution function, :math:`\int_t^1 (s - A)\, p(s)\, ds / p(t)`.

    The integral from -1 has the same value and the opposite sign; the one on whose side of A t lies has an integrand
    of one sign. With s = cos θ the integrand is smooth up to both ends.
    """
    cosine = 2 * kappa / (dim - 2 + ((dim - 2) ** 2 + 4 * kappa.square()).sqrt())  # at the mode in θ
    reach = _REACH * (kappa * (cosine + 1 / cosine)).rsqrt()
    angle, above = t.clamp(-1, 1).arccos(), t > a
    length = torch.where(above, torch.minimum(angle, reach), -torch.minimum(math.pi - angle, reach))
    nodes, weights = (part.to(t.device) for part in _rule())
    theta = angle[..., None] - length[..., None] * nodes
    s = theta.cos()
    level = kappa[..., None] * (s - t[..., None]) + torch.special.xlogy(dim - 2, theta.sin().clamp(min=0))
    level = level - torch.special.xlogy(dim - 3, angle.sin())[..., None]
    return ((s - a[..., None]) * level.exp() * weights).sum(-1) * length


@register_kl(VonMisesFisher, Uniform)
def _kl(q: VonMisesFisher, p: Uniform) -> Tensor:
    return q.divergence()
