"""Every value of a discrete variable, weighted by its probability."""

from __future__ import annotations

from torch.distributions import Distribution

from lvexp.distributions.support import configurations
from lvexp.draws import Draw
from lvexp.errors import ConfigError
from lvexp.estimators.base import AbstractEstimator, enumerated


class Enumerate(AbstractEstimator):
    r"""E_q[c] = Σ_z q(z) c(z), exactly, including the gradient; costs one decoder pass for each value of z.

    N variables of K values have K^N values together. The encoder reads a text only once.

    Args:
        limit: the largest number of decoder passes for a text.
    """

    def __init__(self, limit: int = 256):
        super().__init__()
        self.limit = limit

    def draw(self, q: Distribution, samples: int) -> Draw:
        passes = configurations(q)
        if passes is None or passes > self.limit:
            raise ConfigError(
                f"estimator.limit={self.limit}: z has {'no end of' if passes is None else f'{passes:,}'} values, a "
                "decoder pass for each of them\ntry  estimator=score | estimator=gumbel | a smaller z"
            )
        return enumerated(q)
