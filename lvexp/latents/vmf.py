"""A direction with a von Mises-Fisher posterior."""

from __future__ import annotations

from lvexp.distributions.vmf import VonMisesFisher
from lvexp.latents.spherical import Spherical
from lvexp.shapes import Float, Tensor


class VMF(Spherical):
    """q(z|x) is von Mises-Fisher (Xu & Durrett 2018, with a fixed κ; Davidson et al. 2018, with a learned one)."""

    @staticmethod
    def about(loc: Float[Tensor, "*batch D"], concentration: Float[Tensor, "*batch"]) -> VonMisesFisher:
        return VonMisesFisher(loc, concentration)
