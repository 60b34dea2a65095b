"""True draws with the gradient of their probabilities."""

from __future__ import annotations

import torch
from torch.distributions import Distribution

from lvexp.distributions.sequences import Sequences
from lvexp.draws import Draw
from lvexp.estimators.base import AbstractEstimator


class StraightThrough(AbstractEstimator):
    r"""z ~ q, with ∂z := ∂E[z], the gradient of the probabilities (Bengio et al. 2013): z + p - stop(p).

    The decoder reads true draws. Biased, unless the cost is linear in z. ``estimator=gumbel estimator.hard=true`` is
    the straight-through form of the relaxed draws instead.
    """

    def draw(self, q: Distribution, samples: int) -> Draw:
        if isinstance(q, Sequences):  # symbol by symbol, each given those before it
            return Draw.equal(q.straight_through(samples))
        value = q.sample(torch.Size((samples,)))
        return Draw.equal(value + q.mean - q.mean.detach())
