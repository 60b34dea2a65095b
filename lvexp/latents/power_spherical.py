"""A direction with a power spherical posterior."""

from __future__ import annotations

from lvexp.distributions.power_spherical import PowerSpherical
from lvexp.latents.spherical import Spherical
from lvexp.shapes import Float, Tensor


class PowerSphericalLatent(Spherical):
    """q(z|x) is power spherical (De Cao & Aziz 2020): drawn without rejection, with the tails of a power."""

    @staticmethod
    def about(loc: Float[Tensor, "*batch D"], concentration: Float[Tensor, "*batch"]) -> PowerSpherical:
        return PowerSpherical(loc, concentration)
