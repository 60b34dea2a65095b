"""A constant beta."""

from __future__ import annotations

from lvexp.anneal.base import AbstractAnneal


class Constant(AbstractAnneal):
    """beta(t) = beta: 1 gives the ELBO, a value below 1 makes the rate cheaper (Higgins et al. 2017, beta-VAE).

    Args:
        beta: the weight of the rate.
        steps_per_epoch: not used; every schedule is given it.
    """

    def __init__(self, beta: float = 1.0, steps_per_epoch: int = 1):
        self.beta = beta

    def __call__(self, step: int) -> float:
        return self.beta

    def settled(self) -> int:
        return 0
