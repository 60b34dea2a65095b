"""A categorical variable as a one-hot vector."""

from __future__ import annotations

import torch
from torch.distributions import OneHotCategorical

from lvexp.shapes import Float, Shaped, Tensor


class OneHot(OneHotCategorical):
    r"""One of K values, written as a one-hot vector; :math:`\log q(z) = \sum_k z_k \log q_k`.

    Like :class:`torch.distributions.OneHotCategorical`, except that log_prob is linear in z: at a one-hot z it is the
    log mass, and at a relaxed z it has a gradient with respect to z, instead of being the log mass of the nearest
    value.
    """

    def log_prob(self, value: Shaped[Tensor, "... K"]) -> Float[Tensor, "*shape"]:
        return (value * self.logits).sum(-1)

    def expand(self, batch_shape: torch.Size | tuple[int, ...], _instance: OneHot | None = None) -> OneHot:
        return OneHot(logits=self.logits.expand(*batch_shape, -1), validate_args=False)
