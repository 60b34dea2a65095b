"""The estimator that fits the distribution."""

from __future__ import annotations

from torch.distributions import Distribution

from lvexp.draws import Draw
from lvexp.estimators.base import AbstractEstimator
from lvexp.estimators.enumerate import Enumerate
from lvexp.estimators.pathwise import Pathwise
from lvexp.estimators.score import Score


class Auto(AbstractEstimator):
    """Pathwise where q has a reparameterised sample, else enumeration where its support is finite, else score."""

    def __call__(self, q: Distribution, samples: int) -> Draw:
        if q.has_rsample:
            return Pathwise()(q, samples)
        return (Enumerate() if q.has_enumerate_support else Score())(q, samples)
