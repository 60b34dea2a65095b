"""The base classes of the schedules of beta."""

from __future__ import annotations

import abc

from lvexp.errors import ConfigError


class AbstractAnneal(abc.ABC):
    """beta(step) ≥ 0, a pure function of the number of optimiser steps taken."""

    @abc.abstractmethod
    def __call__(self, step: int) -> float: ...

    @abc.abstractmethod
    def settled(self) -> int:
        """The step from which beta no longer changes."""

    def restarts(self, step: int) -> bool:
        """Whether the optimiser's state (Adam's moments) is reset after ``step`` steps, before the next one."""
        return False


class AbstractRise(AbstractAnneal):
    r"""One rise, :math:`\beta(t) = s + (e - s) f(t / T)` for t < T and e from then on, with f(0) = 0 and f(1) = 1.

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

    @abc.abstractmethod
    def rise(self, share: float) -> float:
        """f at ``share``, the elapsed share of the warm-up, between 0 and 1."""

    def __call__(self, step: int) -> float:
        if step >= self.length:
            return self.end
        return self.start + (self.end - self.start) * self.rise(step / self.length)

    def settled(self) -> int:
        return self.length


def steps(length: float, unit: str, steps_per_epoch: int) -> int:
    """``length`` in optimiser steps. Raises :class:`ConfigError` if ``unit`` is neither steps nor epochs."""
    if unit not in ("steps", "epochs"):
        raise ConfigError(f"anneal.unit={unit}: a warm-up is counted in steps or in epochs\ntry  anneal.unit=epochs")
    return round(length * (steps_per_epoch if unit == "epochs" else 1))
