"""beta rises in a straight line."""

from __future__ import annotations

from lvexp.anneal.base import AbstractAnneal, steps


class Linear(AbstractAnneal):
    r""":math:`\beta(t) = s + (e - s)\min(1, t / T)`: KL annealing (Bowman et al. 2016; linear as He et al. 2019).

    Args:
        start: s, beta at the first step.
        end: e, beta from step T on.
        warmup: T, in ``unit``.
        unit: "epochs" or "steps".
        steps_per_epoch: optimiser steps in an epoch.
    """

    def __init__(
        self, start: float = 0.1, end: float = 1.0, warmup: float = 10, unit: str = "epochs", steps_per_epoch: int = 1
    ):
        self.start, self.end = start, end
        self.length = steps(warmup, unit, steps_per_epoch)

    def __call__(self, step: int) -> float:
        if step >= self.length:
            return self.end
        return self.start + (self.end - self.start) * step / self.length

    def settled(self) -> int:
        return self.length
