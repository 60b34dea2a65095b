"""Every value of a discrete variable, weighted by its probability."""

from __future__ import annotations

from torch.distributions import Distribution

from lvexp.draws import Draw
from lvexp.estimators.base import AbstractEstimator


class Enumerate(AbstractEstimator):
    r"""E_q[c] = Σ_z q(z) c(z), exactly, gradient included; costs one decoder pass for each value of z."""

    def __call__(self, q: Distribution, samples: int) -> Draw:
        value = q.enumerate_support(expand=True)
        log_weight = q.log_prob(value)
        return Draw(value=value, log_weight=log_weight, score=log_weight.new_zeros(log_weight.shape))
