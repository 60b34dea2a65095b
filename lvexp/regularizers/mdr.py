"""Constrains the rate to be at least a minimum."""

from __future__ import annotations

import torch

from lvexp.errors import ConfigError
from lvexp.regularizers.base import Progress, Regularizer
from lvexp.shapes import Float, Tensor


class MDR(Regularizer):
    r"""Minimum desired rate: the bound under the constraint :math:`E[R] \ge r` (Pelsmaeker & Aziz 2020), by its
    Lagrangian

    .. math:: \min_{\theta, \phi} \max_{u \ge 0} \; D + R + u\,(r - R).

    The multiplier u takes a step of gradient ascent after each batch, :math:`u \leftarrow \max(0, u + \eta (r -
    \overline{R}))`, with the batch's mean rate. R then has the weight 1 - u in the loss: above the minimum, u falls to
    0, which leaves the plain bound; below it, the rate gets cheaper and finally is rewarded.

    On its own, u oscillates about its solution, because R reacts with a delay, especially under Adam, whose steps do
    not get shorter with the gradient. The loss therefore uses :math:`\max(0, u + c (r - \overline{R}))` instead of u,
    the gradient of the augmented Lagrangian (Hestenes 1969), which has the same solution. c = 0 is the paper's method.

    beta multiplies R and the constraint alike. u is in the checkpoint. On several devices, each uses its own batch, and
    the u of the first device is saved.

    Args:
        nats: r, nats per text.
        lr: η, the multiplier's step size, per nat: a large value reacts quickly but oscillates.
        damping: c, per nat.
        start: u before the first step; with 1 the rate is free until u has reached its solution.
    """

    multiplier: Tensor

    def __init__(self, nats: float = 8.0, lr: float = 0.001, damping: float = 0.1, start: float = 1.0):
        super().__init__()
        if nats < 0 or lr <= 0 or damping < 0 or start < 0:
            raise ConfigError(
                f"regularizer.mdr: nats={nats} lr={lr} damping={damping} start={start}: lr is above 0, the others are "
                "at least 0"
            )
        self.floor = nats
        self.nats, self.lr, self.damping = nats, lr, damping
        self.register_buffer("multiplier", torch.tensor(float(start)))
        self.missing: Tensor | None = None  # r minus the batch's mean rate, until `update` uses it in the same step

    def rate(self, rate: Float[Tensor, " B"], per_dimension: Float[Tensor, "B D"] | None) -> Float[Tensor, " B"]:
        self.missing = self.nats - rate.detach().mean()
        weight = (self.multiplier + self.damping * self.missing).clamp(min=0)
        return rate + weight * (self.nats - rate)

    def update(self, progress: Progress) -> None:
        if self.missing is not None:
            self.multiplier.add_(self.lr * self.missing).clamp_(min=0)
            self.missing = None

    def watch(self) -> dict[str, Tensor]:
        return {"mdr_multiplier": self.multiplier.clone()}
