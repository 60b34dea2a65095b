"""An expectation over the values that were drawn."""

from __future__ import annotations

import torch
from torch.distributions import Distribution

from lvexp.draws import Draw
from lvexp.errors import ConfigError
from lvexp.estimators.base import AbstractEstimator


class Subset(AbstractEstimator):
    r"""E over a drawn subset, renormalised: the minimum-risk training of Shen et al. 2016.

    .. math:: \sum_{z \in A} \tilde q(z)\, c(z), \qquad
        \tilde q(z) = \frac{q(z)^\alpha}{\sum_{z' \in A} q(z')^\alpha}

    where A is the set of distinct values among S draws from q. The gradient flows through the weights, as in an
    enumeration, at the cost of S decoder passes. Biased, since values outside A are ignored; exact if A contains all
    values and α = 1. Used in training only. With a single draw the weight is 1 and q learns nothing from the
    distortion.

    Args:
        alpha: sharpness of the weights.
    """

    def __init__(self, alpha: float = 1.0):
        super().__init__()
        self.alpha = alpha

    def draw(self, q: Distribution, samples: int) -> Draw:
        if samples < 2:
            raise ConfigError("estimator=subset needs several draws\ntry  model.samples=4")
        value = q.sample(torch.Size((samples,)))
        flat = value.flatten(2)
        same = (flat[:, None] == flat[None]).all(-1)  # [S, S, B]
        again = same.permute(2, 0, 1).tril(-1).any(2).T  # drawn before
        log_weight = (self.alpha * q.log_prob(value)).masked_fill(again, -torch.inf).log_softmax(0)
        return Draw(value=value, log_weight=log_weight, score=torch.zeros_like(log_weight))
