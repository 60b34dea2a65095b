"""The base class of the estimators of the gradient of E_q."""

from __future__ import annotations

import abc
import dataclasses

import torch
from torch import nn
from torch.distributions import Distribution

from lvexp.data.batch import Batch
from lvexp.distributions.joint import Joint
from lvexp.distributions.support import configurations, support
from lvexp.draws import Draw, product
from lvexp.shapes import Float, Tensor

#: the largest number of values of z that validations and estimator=auto enumerate
FEW = 32


@dataclasses.dataclass(frozen=True)
class Control:
    """How :func:`lvexp.draws.expect` treats a cost, [S, B].

    Attributes:
        baseline, scale: as ``expect`` takes them.
        fit: 0 in value; its gradient fits a learned baseline. [B]
    """

    baseline: Tensor | float = 0.0
    scale: Tensor | float = 1.0
    fit: Tensor | float = 0.0


class AbstractEstimator(nn.Module, abc.ABC):
    """Turns a distribution into weighted draws; :func:`lvexp.draws.expect` turns those into a gradient.

    This applies to training. In evaluation mode every estimator returns the draws of :func:`judged`, since reported
    figures must not depend on how a model was trained.
    """

    @abc.abstractmethod
    def draw(self, q: Distribution, samples: int) -> Draw:
        """``samples`` draws from ``q`` (an estimator that enumerates returns one draw for each value instead)."""

    def forward(self, q: Distribution, samples: int) -> Draw:
        return self.draw(q, samples) if self.training else judged(q, samples)

    def attach(self, vocabulary: int) -> None:
        """Called once when the model is built, to create parameters; V is the vocabulary's size. They are trained
        together with those of q(z|x)."""

    def begin(self, step: int) -> None:
        """Called before each training step, with the number of optimiser steps taken so far."""

    def control(self, cost: Float[Tensor, "S B"], batch: Batch) -> Control:
        """Baseline and scale for the cost of the last draw; may update its state from it, for later draws."""
        return Control()


def judged(q: Distribution, samples: int) -> Draw:
    """The draws that validations and reports use: every value of a discrete variable with at most :data:`FEW` of them,
    true draws otherwise, never relaxed ones."""
    return fitting(q, samples) or Draw.equal(q.sample(torch.Size((samples,))))


def fitting(q: Distribution, samples: int) -> Draw | None:
    """Reparameterised draws if ``q`` has them, otherwise all its values if there are at most :data:`FEW`; None if
    neither is possible. Blocks are treated one by one."""
    if isinstance(q, Joint):
        parts = [fitting(block, samples) for block in q.blocks.values()]
        whole = [part for part in parts if part is not None]
        return product(whole) if len(whole) == len(parts) else None
    if q.has_rsample:
        return Draw.equal(q.rsample(torch.Size((samples,))))
    count = configurations(q)
    return enumerated(q) if count is not None and count <= FEW else None


def enumerated(q: Distribution) -> Draw:
    """Every value of ``q``, weighted by its probability."""
    value = support(q)
    log_weight = q.log_prob(value)
    return Draw(value=value, log_weight=log_weight, score=log_weight.new_zeros(log_weight.shape))
