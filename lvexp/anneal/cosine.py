"""beta rises along half a wave."""

from __future__ import annotations

import math

from lvexp.anneal.base import AbstractRise


class Cosine(AbstractRise):
    r""":math:`\beta(t) = s + (e - s) (1 - \cos(\pi \min(1, t / T))) / 2`: flat at both ends, the way in which learning
    rates are often lowered (Loshchilov & Hutter 2017, eq. 5), upside down.

    Args: as :class:`lvexp.anneal.base.AbstractRise`.
    """

    def rise(self, share: float) -> float:
        return (1 - math.cos(math.pi * share)) / 2
