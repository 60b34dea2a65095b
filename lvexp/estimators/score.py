"""Score-function draws."""

from __future__ import annotations

from torch.distributions import Distribution

from lvexp.draws import Draw
from lvexp.estimators.base import AbstractEstimator


class Score(AbstractEstimator):
    r"""∇ E_q[c] = E_q[c ∇ log q(z)] (Williams 1992, REINFORCE): works for any q with a density or mass.

    Unbiased, of high variance: use several samples.
    """

    def __call__(self, q: Distribution, samples: int) -> Draw:
        value = q.sample((samples,))
        return Draw.equal(value, score=q.log_prob(value))
