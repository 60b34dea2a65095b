"""Holds the rate at a target by penalising deviations."""

from __future__ import annotations

import torch

from lvexp.anneal.linear import Linear
from lvexp.errors import ConfigError
from lvexp.regularizers.base import Progress, Regularizer
from lvexp.shapes import Float, Tensor


class TargetKL(Regularizer):
    r"""Replaces R in the loss by :math:`\gamma\,|\overline{R} - C|` (Burgess et al. 2018, eq. 8).

    :math:`\overline{R}` is the mean over the batch, as in released code of the method; if the rate of each text were
    pulled to C, it could not be large for one text and small for another. C may rise from 0 during a warm-up, as in the
    paper; z then learns one factor after another.

    The rate stays at C as long as gamma is larger than the distortion that one additional nat would save at C. This
    saving is less than 1 if C is larger than the rate that the bound alone would choose. beta multiplies the whole
    term: the paper's loss is ``anneal=constant``.

    Args:
        nats: C, nats per text.
        gamma: the cost of each nat of deviation from the target.
        warmup: how long C rises from 0, in ``unit``; 0 for a constant target.
        unit: "epochs" or "steps".
    """

    target: Tensor

    def __init__(self, nats: float = 8.0, gamma: float = 5.0, warmup: float = 0, unit: str = "epochs"):
        super().__init__()
        if nats < 0 or gamma <= 0 or warmup < 0:
            raise ConfigError(
                f"regularizer.target_kl: nats={nats} gamma={gamma} warmup={warmup}: nats and warmup are at least 0, "
                "gamma is above 0"
            )
        if unit not in ("steps", "epochs"):
            raise ConfigError(f"regularizer.target_kl.unit={unit}: it is one of steps, epochs")
        self.floor = nats
        self.nats, self.gamma, self.warmup, self.unit = nats, gamma, warmup, unit
        # kept in the checkpoint, because a regularizer learns the step only in `update`
        self.register_buffer("target", torch.tensor(0.0 if warmup else float(nats)))

    def rate(self, rate: Float[Tensor, " B"], per_dimension: Float[Tensor, "B D"] | None) -> Float[Tensor, " B"]:
        return self.gamma * (rate.mean() - self.target).abs().expand_as(rate)

    def update(self, progress: Progress) -> None:
        rising = Linear(0.0, self.nats, self.warmup, self.unit, progress.steps_per_epoch)
        self.target.fill_(rising(progress.step + 1))  # for the next step's loss

    def watch(self) -> dict[str, Tensor]:
        return {"target_kl": self.target.clone()}
