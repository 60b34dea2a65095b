"""beta rises along a logistic curve."""

from __future__ import annotations

import math

from lvexp.anneal.base import AbstractRise
from lvexp.errors import ConfigError


class Sigmoid(AbstractRise):
    r""":math:`\beta(t) = s + (e - s) f(t / T)` with f the logistic curve (Bowman et al. 2016, section 3.1, figure 2).

    A logistic curve never reaches its ends. Here the part from -k/2 to k/2 is rescaled, so beta is s at step 0 and e
    at step T exactly, and (s + e) / 2 halfway:

    .. math:: f(u) = \frac{\sigma(k(u - 1/2)) - \sigma(-k/2)}{\sigma(k/2) - \sigma(-k/2)}
                   = \frac12 + \frac{\tanh(k(u - 1/2) / 2)}{2 \tanh(k / 4)}

    Args:
        start: s, beta at the first step.
        end: e, beta from step T on.
        warmup: T, in ``unit``.
        steepness: k, the width of the part of the logistic curve that is used: near 0 f is a line, from 50 on almost a
            step.
        unit: "epochs" or "steps".
        steps_per_epoch: optimiser steps in an epoch.
    """

    def __init__(
        self,
        start: float = 0.0,
        end: float = 1.0,
        warmup: float = 10,
        steepness: float = 10.0,
        unit: str = "epochs",
        steps_per_epoch: int = 1,
    ):
        super().__init__(start, end, warmup, unit, steps_per_epoch)
        if steepness <= 0:
            raise ConfigError(
                f"anneal.steepness={steepness}: must be above 0\ntry  anneal=linear | anneal.steepness=10"
            )
        self.steepness = steepness

    def rise(self, share: float) -> float:
        return 0.5 + math.tanh(self.steepness * (share - 0.5) / 2) / (2 * math.tanh(self.steepness / 4))
