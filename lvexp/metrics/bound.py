"""The bound on the log-likelihood and its two parts."""

from __future__ import annotations

import math
from typing import Any

import torch
from torchmetrics import Metric

from lvexp.shapes import Tensor
from lvexp.terms import Terms


def perplexity(nats: float, tokens: int) -> float | None:
    """exp(nats / tokens): perplexity per predicted token, ``<eos>`` counted, ``<bos>`` not; inf if it overflows, None
    without tokens.

    Args:
        nats: of all texts together, not a mean over texts or batches.
        tokens: predicted tokens of all texts.
    """
    if not tokens:
        return None
    try:
        return math.exp(nats / tokens)
    except OverflowError:
        return math.inf


class Bound(Metric):
    r"""-ELBO = D + R over a whole set of texts (Kingma & Welling 2014, eq. 3), with beta = 1 and nothing added.

    Sums over texts are kept in float64 and divided once, so that batches of different sizes are weighted correctly.
    ``compute`` returns a dict of

    - ``distortion``: :math:`D = -E_q \log p(x|z)`, nats per sentence;
    - ``rate``: :math:`R = KL(q(z|x) \| p(z))`, nats per sentence; None if the model has no prior;
    - ``rate_per_dimension``: its split, a list of D numbers; None if there is no rate or it does not split;
    - ``nelbo``: D + R; only D, the exact negative log-likelihood, if the code has width 0; None for an auto-encoder,
      whose distortion is not a bound because it has no prior;
    - ``ppl``: :func:`perplexity` from ``nelbo``; None if that is;
    - ``sentences``, ``tokens``: number of texts, and of predicted tokens (words and ``<eos>``).

    Args:
        more: options of every ``torchmetrics.Metric``.
    """

    full_state_update = False
    distortion: Tensor
    rate: Tensor
    split: Tensor
    sentences: Tensor
    tokens: Tensor
    rated: Tensor
    divided: Tensor
    codeless: Tensor

    def __init__(self, **more: Any):
        super().__init__(**more)
        for name in ("distortion", "rate", "split"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        # the last three count the texts that had a rate, a rate that splits, and no code
        for name in ("sentences", "tokens", "rated", "divided", "codeless"):
            self.add_state(name, torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, terms: Terms) -> None:
        texts = len(terms.batch)
        self.distortion = self.distortion + terms.distortion.detach().double().sum()
        self.sentences = self.sentences + texts
        self.tokens = self.tokens + terms.batch.predicted()
        if terms.rate is not None:
            self.rate = self.rate + terms.rate.detach().double().sum()
            self.rated = self.rated + texts
        if terms.rate_per_dimension is not None:
            self.split = self.split + terms.rate_per_dimension.detach().double().sum(0)
            self.divided = self.divided + texts
        if terms.code.shape[-1] == 0:
            self.codeless = self.codeless + texts

    def compute(self) -> dict[str, Any]:
        sentences, tokens = int(self.sentences), int(self.tokens)
        total = None  # of -ELBO, nats
        if self.rated:
            total = float(self.distortion + self.rate)
        elif self.codeless:
            total = float(self.distortion)
        return {
            "distortion": float(self.distortion) / sentences,
            "rate": float(self.rate) / sentences if self.rated else None,
            "rate_per_dimension": (self.split / sentences).tolist() if self.divided else None,
            "nelbo": None if total is None else total / sentences,
            "ppl": None if total is None else perplexity(total, tokens),
            "sentences": sentences,
            "tokens": tokens,
        }
