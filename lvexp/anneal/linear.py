"""beta rises in a straight line."""

from __future__ import annotations

from lvexp.anneal.base import AbstractRise


class Linear(AbstractRise):
    r""":math:`\beta(t) = s + (e - s)\min(1, t / T)`: KL annealing (Bowman et al. 2016; linear as He et al. 2019).

    Args: as :class:`lvexp.anneal.base.AbstractRise`.
    """

    def rise(self, share: float) -> float:
        return share
