"""Draws for the score-function gradient."""

from __future__ import annotations

import torch
from torch import nn
from torch.distributions import Distribution

from lvexp.data.batch import Batch
from lvexp.draws import Draw
from lvexp.errors import ConfigError
from lvexp.estimators.base import AbstractEstimator, Control
from lvexp.shapes import Float, Tensor

BASELINES = ("none", "mean", "input", "leave_one_out")


class Score(AbstractEstimator):
    r"""∇ E_q[c] = E_q[(c - b) ∇ log q(z)] (Williams 1992, REINFORCE): for any q with a density or mass.

    Unbiased for any baseline b that does not depend on the draw it is subtracted for:

    - ``none``: b = 0;
    - ``mean``: the running mean of the costs of previous steps;
    - ``input``: b(x), learned from the text (Mnih & Gregor 2014, NVIL). Here :math:`b(x) = \bar r\, n\, (1 + f(x))`,
      with n tokens to predict, :math:`\bar r` the running mean of the cost of a token, and f a network of one hidden
      layer over the mean of its own word vectors; it is fitted by the squared error relative to :math:`\bar r n`,
      together with the parameters of q(z|x) and at their learning rate;
    - ``leave_one_out``: for each of S ≥ 2 draws, the mean cost of the others (Mnih & Rezende 2016; Kool et al. 2019).

    Only the gradient of q through the draws is estimated in this way: the rate of a discrete variable is exact, and the
    decoder has its ordinary gradient.

    Args:
        baseline: "none", "mean", "input" or "leave_one_out".
        normalise: divide c - b by max(1, σ), its running standard deviation (Mnih & Gregor 2014). This changes the
            length of the gradient, which is then no longer that of the bound.
        decay: of the running means.
        width: of the word vectors and the hidden layer of ``baseline=input``.
    """

    def __init__(self, baseline: str = "none", normalise: bool = False, decay: float = 0.95, width: int = 32):
        super().__init__()
        if baseline not in BASELINES:
            raise ConfigError(f"estimator.baseline={baseline}: it is one of {', '.join(BASELINES)}")
        self.baseline, self.normalise, self.decay, self.width = baseline, normalise, decay, width
        self.mean: Tensor
        self.square: Tensor
        self.seen: Tensor
        for name in ("mean", "square", "seen"):  # running sums, and the weight of what was seen, which tends to 1
            self.register_buffer(name, torch.zeros(()))

    def attach(self, vocabulary: int) -> None:
        if self.baseline == "input":
            self.words = nn.EmbeddingBag(vocabulary, self.width)
            self.hidden, self.last = nn.Linear(self.width, self.width), nn.Linear(self.width, 1)
            nn.init.zeros_(self.last.weight)  # b starts as the running mean
            nn.init.zeros_(self.last.bias)

    def draw(self, q: Distribution, samples: int) -> Draw:
        return scored(q, samples)

    def control(self, cost: Float[Tensor, "S B"], batch: Batch) -> Control:
        if not self.training:
            return Control()
        cost, fit = cost.detach().float(), 0.0
        tokens = (batch.lengths - 1).to(cost)
        per_text = tokens if self.baseline == "input" else torch.ones_like(tokens)
        running = torch.where(self.seen > 0, self.mean / self.seen.clamp(min=1e-12), 0.0)
        if self.baseline == "input":
            unit = torch.where(self.seen > 0, running, 1.0) * tokens
            f = self.last(self.hidden(self.words(batch.tokens)).tanh())[:, 0]
            error = (cost / unit - 1 - f).square().mean(0)
            baseline, fit = (unit * (1 + f)).detach(), error - error.detach()
        elif self.baseline == "leave_one_out":
            if len(cost) < 2:
                raise ConfigError("estimator.baseline=leave_one_out needs other draws\ntry  model.samples=4")
            baseline = leave_one_out(cost)
        else:
            baseline = torch.zeros_like(tokens) + (running if self.baseline == "mean" else 0.0)
        advantage = cost - baseline
        scale = torch.where(self.seen > 0, self.square / self.seen.clamp(min=1e-12), 1.0).sqrt().clamp(min=1)
        with torch.no_grad():  # updated after use: a baseline depends on previous steps only
            for kept, now in ((self.mean, cost / per_text), (self.square, advantage.square())):
                kept.lerp_(now.mean(), 1 - self.decay)
            self.seen.lerp_(torch.ones_like(self.seen), 1 - self.decay)
        return Control(baseline, scale if self.normalise else 1.0, fit)


def scored(q: Distribution, samples: int) -> Draw:
    """Draws that carry log q(z) for a score."""
    value = q.sample(torch.Size((samples,)))
    return Draw.equal(value, score=q.log_prob(value))


def leave_one_out(cost: Float[Tensor, "S B"]) -> Float[Tensor, "S B"]:
    """For each of S ≥ 2 draws, the mean cost of the others."""
    return (cost.sum(0) - cost) / (len(cost) - 1)
