"""A categorical variable as a one-hot vector."""

from __future__ import annotations

import torch
from torch.distributions import OneHotCategorical

from lvexp.shapes import Float, Shaped, Tensor


class OneHot(OneHotCategorical):
    r"""One of K values, written as a one-hot vector; :math:`\log q(z) = \sum_k z_k \log q_k`.

    As :class:`torch.distributions.OneHotCategorical`, but for a log_prob that is linear in z: at a one-hot z it is the
    log-mass, and at a relaxed one it has a gradient towards z instead of that of the nearest value.
    """

    def log_prob(self, value: Shaped[Tensor, "*batch K"]) -> Float[Tensor, "*batch"]:
        return (value * self.logits).sum(-1)

    def expand(self, batch_shape: torch.Size, _instance: OneHot | None = None) -> OneHot:
        return OneHot(logits=self.logits.expand(*batch_shape, -1), validate_args=False)
