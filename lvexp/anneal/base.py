"""What every schedule of beta is."""

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


def steps(length: float, unit: str, steps_per_epoch: int) -> int:
    """``length`` in optimiser steps. Raises :class:`ConfigError` where ``unit`` is neither steps nor epochs."""
    if unit not in ("steps", "epochs"):
        raise ConfigError(f"anneal.unit={unit}: a warm-up is counted in steps or in epochs\ntry  anneal.unit=epochs")
    return round(length * (steps_per_epoch if unit == "epochs" else 1))
