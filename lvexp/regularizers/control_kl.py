"""Holds the rate at a target by controlling beta."""

from __future__ import annotations

import torch

from lvexp.errors import ConfigError
from lvexp.regularizers.base import Progress, Regularizer
from lvexp.shapes import Float, Tensor


class ControlKL(Regularizer):
    r"""ControlVAE: a proportional-integral controller sets beta so that the rate stays at C nats (Shao et al. 2020,
    algorithm 1). With the error :math:`e_t = C - \overline{R}_t` of a batch's mean rate,

    .. math:: \beta_{t+1} = \frac{K_p}{1 + \exp(e_t)} - K_i \sum_{j \le t} e_j + \beta_{\min},
              \text{ cut to } [\beta_{\min}, \beta_{\max}].

    Each batch determines the beta of the next one; the first beta is the smallest, as in their released code for texts.
    When beta is cut, the sum is set to the value that yields the limit (anti-windup). Otherwise it would keep growing
    without effect, and take as long to return. Algorithm 1 also stops the sum; in their released code the condition for
    this is never met.

    This regularizer alone sets beta: ``anneal`` must be constant at 1. Its state is in the checkpoint. On several
    devices, each uses its own batch, and the state of the first device is saved.

    Args:
        nats: C, nats per text.
        kp: K_p, the largest immediate response to an error.
        ki: K_i, beta per nat of error and step: a large value reacts quickly but oscillates.
        lowest: beta_min. highest: beta_max.
    """

    integral: Tensor
    beta: Tensor

    def __init__(
        self, nats: float = 8.0, kp: float = 0.01, ki: float = 0.0001, lowest: float = 0.0, highest: float = 1.0
    ):
        super().__init__()
        if nats < 0 or kp < 0 or ki <= 0:
            raise ConfigError(
                f"regularizer.control_kl: nats={nats} kp={kp} ki={ki}: nats and kp are at least 0, ki is above 0"
            )
        if not 0 <= lowest < highest:
            raise ConfigError(
                f"regularizer.control_kl.lowest={lowest} regularizer.control_kl.highest={highest}: beta moves between "
                "them, 0 <= lowest < highest"
            )
        self.floor = nats
        self.nats, self.kp, self.ki, self.lowest, self.highest = nats, kp, ki, lowest, highest
        self.register_buffer("integral", torch.tensor(0.0))  # -K_i times the sum
        self.register_buffer("beta", torch.tensor(float(lowest)))
        self.seen: Tensor | None = None  # the last batch's mean rate, until `update` uses it in the same step

    def weigh(self, beta: float) -> Tensor:
        return self.beta.clone()

    def rate(self, rate: Float[Tensor, " B"], per_dimension: Float[Tensor, "B D"] | None) -> Float[Tensor, " B"]:
        self.seen = rate.detach().mean()
        return rate

    def update(self, progress: Progress) -> None:
        if self.seen is not None:
            error = self.nats - self.seen
            at_once = self.kp * torch.sigmoid(-error) + self.lowest
            beta = (at_once + self.integral - self.ki * error).clamp(self.lowest, self.highest)
            self.beta.copy_(beta)
            self.integral.copy_(beta - at_once)
            self.seen = None
