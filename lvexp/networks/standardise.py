"""Batch normalisation without scale and shift."""

from __future__ import annotations

from torch import nn

from lvexp.shapes import Float, Tensor


class Standardise(nn.BatchNorm1d):
    """Mean 0 and variance 1 of each feature over the batch; in evaluation by the running statistics of training, and
    so for a training batch of one, which has no variance of its own (Ioffe & Szegedy 2015).

    Args:
        features: of each row.
    """

    def __init__(self, features: int):
        super().__init__(features, eps=1e-3, affine=False)

    def forward(self, input: Float[Tensor, "N F"]) -> Float[Tensor, "N F"]:
        if self.training and len(input) == 1:
            return nn.functional.batch_norm(input, self.running_mean, self.running_var, eps=self.eps)
        return super().forward(input)
