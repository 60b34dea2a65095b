"""Relaxed draws of discrete variables."""

from __future__ import annotations

import math

import torch
from torch.distributions import Distribution, Independent, RelaxedBernoulli
from torch.nn import functional as F

from lvexp.distributions.onehot import OneHot
from lvexp.distributions.sequences import Sequences
from lvexp.draws import Draw
from lvexp.estimators.base import AbstractEstimator


class Gumbel(AbstractEstimator):
    r"""z = softmax((log q + g) / τ), g ~ Gumbel(0, 1): pathwise gradients of a continuous relaxation of z (Jang et al.
    2017; Maddison et al. 2017, Concrete).

    argmax(log q + g) is a true draw (the Gumbel-max identity), and z tends to it as τ → 0. The decoder reads the
    mixture of the values' embeddings. The gradient is biased; the bias falls and the variance grows as τ falls. The
    rate is the exact one of the discrete q, not that of the Concrete density, as in Jang et al.'s categorical bound, so
    the training loss is not a bound on the likelihood. Reported figures come from true draws or from all values.

    Args:
        temperature: τ, or its final value.
        rate: r of τ = max(temperature, exp(-r t)) after t optimiser steps (Jang et al. 2017, who update it every few
            hundred steps; here every step); 0 keeps τ at ``temperature``.
        hard: the decoder reads the one-hot argmax, and the gradient is that of the relaxed z (straight-through
            Gumbel).
    """

    def __init__(self, temperature: float = 0.5, rate: float = 0.0, hard: bool = False):
        super().__init__()
        self.temperature, self.rate, self.hard = temperature, rate, hard
        self.step = 0

    def begin(self, step: int) -> None:
        self.step = step

    @property
    def tau(self) -> float:
        """The temperature at this step."""
        return max(self.temperature, math.exp(-self.rate * self.step)) if self.rate else self.temperature

    def draw(self, q: Distribution, samples: int) -> Draw:
        if isinstance(q, Sequences):
            return Draw.equal(q.relaxed(samples, self.tau, self.hard))
        base = q.base_dist if isinstance(q, Independent) else q
        if isinstance(base, OneHot):
            logits = base.logits.expand(samples, *base.logits.shape)
            return Draw.equal(F.gumbel_softmax(logits, self.tau, self.hard))
        relaxed = RelaxedBernoulli(torch.tensor(self.tau), logits=base.logits, validate_args=False)  # pyright: ignore
        soft = relaxed.rsample(torch.Size((samples,)))
        return Draw.equal((soft > 0.5).to(soft) + soft - soft.detach() if self.hard else soft)
