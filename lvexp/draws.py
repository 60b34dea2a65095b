"""Weighted draws and the one place where a gradient estimator meets a cost."""

from __future__ import annotations

import dataclasses
import math

import torch

from lvexp.shapes import Float, Shaped, Tensor


@dataclasses.dataclass(frozen=True)
class Draw:
    """Draws of a latent variable, as an estimator made them.

    Attributes:
        value: the draws, [S, B, *event].
        log_weight: log of the weight of each draw; ``exp`` sums to 1 over S. Carries gradient only when
            every value was enumerated. [S, B]
        score: log q(value) where the gradient goes through the score function, else 0. [S, B]
    """

    value: Shaped[Tensor, "S B *event"]
    log_weight: Float[Tensor, "S B"]
    score: Float[Tensor, "S B"]

    @classmethod
    def equal(cls, value: Shaped[Tensor, "S B *event"], score: Float[Tensor, "S B"] | None = None) -> Draw:
        """Draws that all weigh 1/S; ``score`` is 0 where the draws themselves carry the gradient."""
        none = torch.zeros(value.shape[:2], device=value.device)
        return cls(value=value, log_weight=none - math.log(value.shape[0]), score=none if score is None else score)


def expect(
    cost: Float[Tensor, "S B"], draw: Draw, baseline: Float[Tensor, "S B"] | Float[Tensor, " B"] | float = 0.0
) -> Float[Tensor, " B"]:
    r"""E_q[cost], with the gradient of whichever estimator made ``draw``.

    .. math:: \sum_s w_s\,(c_s + \mathrm{stop}(c_s - b)\,(\ell_s - \mathrm{stop}(\ell_s)))

    with weights w, cost c, score :math:`\ell = \log q(z_s)` and baseline b. The value is the weighted mean of the
    cost whatever the baseline; the second term is zero in value and is the score-function gradient (Williams 1992,
    REINFORCE). Enumerated draws carry their gradient in w, reparameterised ones (Kingma & Welling 2014) in c.

    Args:
        cost: any cost of each draw, nats. [S, B]
        draw: the draws the cost was computed from.
        baseline: a control variate that does not depend on the draw it is subtracted for.
    """
    surrogate = (cost - baseline).detach() * (draw.score - draw.score.detach())
    return (draw.log_weight.exp() * (cost + surrogate)).sum(0)
