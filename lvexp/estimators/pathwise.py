"""Reparameterised draws."""

from __future__ import annotations

import torch
from torch.distributions import Distribution

from lvexp.draws import Draw
from lvexp.estimators.base import AbstractEstimator


class Pathwise(AbstractEstimator):
    r"""z = g(ε, φ), ε ~ p(ε): the gradient flows through the draw (Kingma & Welling 2014, section 2.4).

    Unbiased, with low variance; needs a distribution with ``rsample``.
    """

    def draw(self, q: Distribution, samples: int) -> Draw:
        return Draw.equal(q.rsample(torch.Size((samples,))))
