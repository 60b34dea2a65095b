"""beta rises along half a cosine wave."""

from __future__ import annotations

import math

from lvexp.anneal.base import AbstractRise


class Cosine(AbstractRise):
    r""":math:`\beta(t) = s + (e - s) (1 - \cos(\pi \min(1, t / T))) / 2`: flat at both ends. This is cosine decay,
    often used for learning rates (Loshchilov & Hutter 2017, eq. 5), reversed.

    Args: as :class:`lvexp.anneal.base.AbstractRise`.
    """

    def rise(self, share: float) -> float:
        return (1 - math.cos(math.pi * share)) / 2
