"""How many of its values a discrete z uses."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F
from torchmetrics import Metric

from lvexp.shapes import Float, Tensor


class CodeUsage(Metric):
    r"""Perplexity of the values that texts are assigned to, :math:`\exp H(\bar a_n)`, mean over the N variables.

    :math:`\bar a_{nk}` is the share of texts whose most probable value of variable n is k (as reported for quantised
    codes by van den Oord et al. 2017 and later work). 1: all texts have the same value; K: all values are equally
    frequent. It measures how many values are in use, not how reliably they distinguish texts, which is measured by the
    mutual information. It replaces active units, which a discrete z does not have.

    ``compute`` returns a dict of ``code_perplexity`` and ``usage``, the shares, a list of N lists of K.

    Args:
        more: options of every ``torchmetrics.Metric``.
    """

    full_state_update = False
    counts: Tensor

    def __init__(self, **more: Any):
        super().__init__(**more)
        self.add_state("counts", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, marginals: Float[Tensor, "B N K"]) -> None:
        assigned = F.one_hot(marginals.detach().argmax(-1), marginals.shape[-1])
        self.counts = self.counts + assigned.double().sum(0)

    def compute(self) -> dict[str, Any]:
        shares = self.counts / self.counts.sum(-1, keepdim=True)
        entropy = -torch.special.xlogy(shares, shares).sum(-1)
        return {"code_perplexity": float(entropy.exp().mean()), "usage": shares.tolist()}
