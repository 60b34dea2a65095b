"""A rate held at a target by a controller that turns beta."""

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

    A batch sets the beta of the next one, the first beta is the smallest, as in their released code for texts. Where
    beta is cut, the sum is set to what gives the limit (anti-windup): it would otherwise grow while nothing happens,
    and take as long to come back. Algorithm 1 stops it too; in their released code the condition never holds.

    beta is this remedy's alone: ``anneal`` must be constant at 1. Its state is in the checkpoint. On several devices
    each goes by its own batch, and the first device's state is the one that is kept.

    Args:
        nats: C, nats per text.
        kp: K_p, the largest immediate answer to an error.
        ki: K_i, beta per nat of error and step: large is quick and swings.
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
        self.seen: Tensor | None = None  # the last batch's mean rate, until `update` answers it in the same step

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
