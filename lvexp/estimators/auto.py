"""The estimator that fits the distribution."""

from __future__ import annotations

from torch.distributions import Distribution

from lvexp.data.batch import Batch
from lvexp.draws import Draw
from lvexp.estimators.base import AbstractEstimator, Control, fitting
from lvexp.estimators.score import leave_one_out, scored
from lvexp.shapes import Float, Tensor


class Auto(AbstractEstimator):
    """Pathwise where q has a reparameterised sample, enumeration where its values are few (at most 32), else score:
    with the leave-one-out baseline where there is more than one draw, without any where there is not."""

    def draw(self, q: Distribution, samples: int) -> Draw:
        return fitting(q, samples) or scored(q, samples)

    def control(self, cost: Float[Tensor, "S B"], batch: Batch) -> Control:
        # draws without a score, which the others are, have no use for a baseline
        several = len(cost) > 1 and self.training
        return Control(leave_one_out(cost.detach().float())) if several else Control()
