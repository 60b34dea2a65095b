"""A categorical variable as a one-hot vector."""

from __future__ import annotations

import torch
from torch.distributions import Categorical, Distribution, OneHotCategorical

from lvexp.shapes import Float, Shaped, Tensor


class OneHot(OneHotCategorical):
    r"""One of K values, written as a one-hot vector; :math:`\log q(z) = \sum_k z_k \log q_k`.

    Like :class:`torch.distributions.OneHotCategorical`, except that log_prob is linear in z: at a one-hot z it is the
    log mass, and at a relaxed z it has a gradient with respect to z, instead of being the log mass of the nearest
    value.
    """

    def __init__(self, probs: Tensor | None = None, logits: Tensor | None = None, validate_args: bool | None = None):
        # torch's class checks the values of every one that is made, whatever validate_args says
        self._categorical = Categorical(probs, logits, validate_args=validate_args)
        batch, event = self._categorical.batch_shape, self._categorical.param_shape[-1:]
        Distribution.__init__(self, batch, event, validate_args=validate_args)

    def log_prob(self, value: Shaped[Tensor, "... K"]) -> Float[Tensor, "*shape"]:
        return (value * self.logits).sum(-1)

    def expand(self, batch_shape: torch.Size | tuple[int, ...], _instance: OneHot | None = None) -> OneHot:
        return OneHot(logits=self.logits.expand(*batch_shape, -1), validate_args=False)
