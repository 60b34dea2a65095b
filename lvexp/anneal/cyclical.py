"""beta rises several times."""

from __future__ import annotations

from lvexp.anneal.base import AbstractAnneal, steps
from lvexp.anneal.cosine import Cosine
from lvexp.anneal.linear import Linear
from lvexp.anneal.sigmoid import Sigmoid
from lvexp.errors import ConfigError

_SHAPES = {"linear": Linear, "cosine": Cosine, "sigmoid": Sigmoid}


class Cyclical(AbstractAnneal):
    r"""M cycles in which beta rises from s to e and stays there; finally it stays at e (Fu et al. 2019, eq. 6, 7).

    With P steps in a cycle and :math:`\tau = (t \bmod P) / P`,

    .. math:: \beta(t) = s + (e - s) f(\min(1, \tau / R)) \text{ for } t < MP, \qquad e \text{ from then on.}

    The paper divides the whole training into M cycles. Here the length of a cycle is set directly, so that the schedule
    of a run does not depend on how long the run will be.

    Args:
        start: s, beta at the first step of a cycle.
        end: e.
        period: P, length of a cycle, in ``unit``.
        cycles: M.
        ratio: R, the share of a cycle in which beta rises.
        shape: f, "linear", "cosine" or "sigmoid" (with its default steepness).
        restart: reset the optimiser when a new cycle begins, since Adam's moments belong to another loss.
        unit: "epochs" or "steps".
        steps_per_epoch: optimiser steps in an epoch.
    """

    def __init__(
        self,
        start: float = 0.0,
        end: float = 1.0,
        period: float = 3,
        cycles: int = 4,
        ratio: float = 0.5,
        shape: str = "linear",
        restart: bool = False,
        unit: str = "epochs",
        steps_per_epoch: int = 1,
    ):
        if shape not in _SHAPES:
            raise ConfigError(f"anneal.shape={shape}: a rise is one of {', '.join(_SHAPES)}\ntry  anneal.shape=linear")
        if cycles < 1 or not 0 < ratio <= 1:
            raise ConfigError(f"anneal.cycles={cycles} anneal.ratio={ratio}: cycles >= 1 and 0 < ratio <= 1")
        self.period, self.cycles, self.restart = steps(period, unit, steps_per_epoch), cycles, restart
        if self.period < 1:
            raise ConfigError(f"anneal.period={period} {unit}: a cycle has at least one step\ntry  anneal.period=3")
        self.rise = _SHAPES[shape](start, end, ratio * self.period, unit="steps")

    def __call__(self, step: int) -> float:
        return self.rise(step % self.period if step < self.cycles * self.period else step)

    def settled(self) -> int:
        return (self.cycles - 1) * self.period + self.rise.settled()

    def restarts(self, step: int) -> bool:
        return self.restart and step % self.period == 0 and 0 < step < self.cycles * self.period
