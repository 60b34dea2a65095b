"""Perplexity as defined in papers on topic models."""

from __future__ import annotations

from typing import Any

import torch
from torchmetrics import Metric

from lvexp.metrics.bound import perplexity
from lvexp.shapes import Tensor
from lvexp.terms import Terms


class DocumentPerplexity(Metric):
    r"""``ppl_document``: :math:`\exp(\frac1D \sum_d (D_d + R_d) / N_d)` over D documents of N_d words, from the bound.

    Every document has the same weight, whatever its length.

    Args:
        more: options of every ``torchmetrics.Metric``.
    """

    full_state_update = False
    figures = ("ppl_document",)
    nats: Tensor
    documents: Tensor

    def __init__(self, **more: Any):
        super().__init__(**more)
        self.add_state("nats", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("documents", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, terms: Terms) -> None:
        assert terms.rate is not None
        assert terms.batch.counts is not None
        bound = (terms.distortion + terms.rate).double()
        self.nats = self.nats + (bound / terms.batch.counts.sum(-1)).sum()
        self.documents = self.documents + len(terms.batch)

    def compute(self) -> dict[str, Any]:
        return {"ppl_document": perplexity(float(self.nats), int(self.documents))}
