"""Weighted draws, and the one place where a gradient estimator is applied to a cost."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch

from lvexp.shapes import Float, Shaped, Tensor


@dataclasses.dataclass(frozen=True)
class Draw:
    """Draws of a latent variable, as an estimator made them.

    Attributes:
        value: the draws, [S, B, *event].
        log_weight: log of the weight of each draw; ``exp`` sums to 1 over S. Carries gradient only when
            every value was enumerated. [S, B]
        score: log q(value) if the gradient goes through the score function, otherwise 0. [S, B]
    """

    value: Shaped[Tensor, "S B *event"]
    log_weight: Float[Tensor, "S B"]
    score: Float[Tensor, "S B"]

    @classmethod
    def equal(cls, value: Shaped[Tensor, "S B *event"], score: Float[Tensor, "S B"] | None = None) -> Draw:
        """Draws with weights of 1/S; ``score`` is 0 if the draws themselves carry the gradient."""
        none = torch.zeros(value.shape[:2], device=value.device)
        return cls(value=value, log_weight=none - math.log(value.shape[0]), score=none if score is None else score)


def product(draws: Sequence[Draw]) -> Draw:
    """All combinations of draws of independent variables, S = S_1 S_2 …, their values flattened and concatenated.
    Weights are multiplied, so enumerated variables stay exact when combined with drawn ones."""
    whole = draws[0]
    whole = dataclasses.replace(whole, value=whole.value.flatten(2))
    for other in draws[1:]:
        first, second = len(whole.value), len(other.value)
        left, right = whole.value.repeat_interleave(second, 0), other.value.flatten(2).repeat(first, 1, 1)
        whole = Draw(
            value=torch.cat([left, right], -1),
            log_weight=(whole.log_weight[:, None] + other.log_weight[None]).flatten(0, 1),
            score=(whole.score[:, None] + other.score[None]).flatten(0, 1),
        )
    return whole


def expect(
    cost: Float[Tensor, "S B"],
    draw: Draw,
    baseline: Float[Tensor, "S B"] | Float[Tensor, " B"] | float = 0.0,
    scale: Tensor | float = 1.0,
) -> Float[Tensor, " B"]:
    r"""E_q[cost], with the gradient of whichever estimator made ``draw``.

    .. math:: \sum_s w_s\,(c_s + \mathrm{stop}((c_s - b) / a)\,(\ell_s - \mathrm{stop}(\ell_s)))

    with weights w, cost c, score :math:`\ell = \log q(z_s)`, baseline b and scale a. The value is the weighted mean of
    the cost, whatever the baseline; the second term has the value zero and gives the score-function gradient (Williams
    1992, REINFORCE). Enumerated draws carry their gradient in w, reparameterised ones (Kingma & Welling 2014) in c.

    Args:
        cost: any cost of each draw, nats. [S, B]
        draw: the draws the cost was computed from.
        baseline: a control variate that does not depend on the draw it is subtracted for.
        scale: divides the score-function gradient only. A value other than 1 changes that gradient's length.
    """
    surrogate = ((cost - baseline) / scale).detach() * (draw.score - draw.score.detach())
    return (draw.log_weight.exp() * (cost + surrogate)).sum(0)
