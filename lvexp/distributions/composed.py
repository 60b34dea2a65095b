"""Distributions made of others, which know their divergence."""

from __future__ import annotations

import abc

from torch.distributions import Distribution

from lvexp.draws import Draw
from lvexp.shapes import Float, Tensor


class Composed(Distribution, abc.ABC):
    """A distribution for which :func:`lvexp.distributions.rate.rate` asks the distribution itself."""

    @abc.abstractmethod
    def rate(self, p: Distribution, draw: Draw) -> tuple[Float[Tensor, " B"], Float[Tensor, "B D"] | None]:
        """KL from ``p``, of the same class, nats per text, and its split over dimensions, if there is one. An
        expectation that is not in closed form is over the draws."""

    def exact(self, p: Distribution) -> bool:
        """Whether :meth:`rate` needs no draws."""
        return False
