"""Dimensions of z whose posterior mean varies between texts."""

from __future__ import annotations

from typing import Any

import torch
from torchmetrics import Metric

from lvexp.shapes import Float, Tensor


class ActiveUnits(Metric):
    r""":math:`\#\{d : \mathrm{Var}_x(E_{q(z|x)} z_d) > 0.01\}` (Burda et al. 2016, section 5.2).

    The variance is the unbiased one, over n - 1 (He et al. 2019's code). ``compute`` returns a dict of ``active_units``
    and ``variance``, the list of the D variances; both need two texts (the variance of a single one is 0 here).

    Regularizers that set this variance by construction (batch normalisation of the mean) make the count meaningless.

    Args:
        threshold: above which a dimension is active.
        more: options of every ``torchmetrics.Metric``.
    """

    full_state_update = False
    n: Tensor
    mean: Tensor
    square: Tensor

    def __init__(self, threshold: float = 0.01, **more: Any):
        super().__init__(**more)
        self.threshold = threshold
        # Deviations are summed about the running mean (Chan et al. 1983): a sum of plain squares would lose a small
        # variance about a large mean. Such states are not additive over devices, so they are merged in compute.
        for name in ("n", "mean", "square"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx=None)

    def update(self, means: Float[Tensor, "B D"]) -> None:
        means = means.detach().double()
        mean = means.mean(0)
        n, step = self.n + len(means), mean - self.mean
        self.square = self.square + (means - mean).square().sum(0) + step.square() * self.n * len(means) / n
        self.mean, self.n = self.mean + step * len(means) / n, n

    def compute(self) -> dict[str, Any]:
        n = self.n.reshape(-1, 1)  # one row per device
        mean, square = self.mean.reshape(len(n), -1), self.square.reshape(len(n), -1)
        middle = (n * mean).sum(0) / n.sum()
        variance = (square + n * (mean - middle).square()).sum(0) / (n.sum() - 1).clamp(min=1)
        return {"active_units": int((variance > self.threshold).sum()), "variance": variance.tolist()}
