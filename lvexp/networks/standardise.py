"""Batch normalisation without scale and shift."""

from __future__ import annotations

from torch import nn

from lvexp.shapes import Float, Tensor


class Standardise(nn.BatchNorm1d):
    """Scales each feature to mean 0 and variance 1 over the batch (Ioffe & Szegedy 2015). Evaluation uses the running
    statistics of training; so does a training batch of one text, which has no variance.

    Args:
        features: number of features of each row.
    """

    def __init__(self, features: int):
        super().__init__(features, eps=1e-3, affine=False)

    def forward(self, input: Float[Tensor, "N F"]) -> Float[Tensor, "N F"]:
        if self.training and len(input) == 1:
            return nn.functional.batch_norm(input, self.running_mean, self.running_var, eps=self.eps)
        return super().forward(input)
