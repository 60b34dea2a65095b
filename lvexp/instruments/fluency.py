"""How probable a language model finds texts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from lvexp.models.base import LatentModel
from lvexp.models.records import batch, parts


@torch.no_grad()
def perplexity(model: LatentModel, texts: Sequence[str]) -> float:
    r"""exp of the mean of :math:`-\log p(x_t \mid x_{<t})` over all tokens of the texts, ``<eos>`` among them, in nats
    per token. Words that the language model does not know are ``<unk>`` to it.

    Args:
        model: a language model, in evaluation mode.
        texts: at least one.

    Raises:
        ValueError: no text was given.
    """
    nats, tokens = 0.0, 0
    for rows in parts(texts):
        some = batch(model.vocabulary, [texts[row] for row in rows]).to(model.device)
        nats, tokens = nats + float(model.terms(some).distortion.sum()), tokens + some.predicted()
    return math.exp(nats / tokens)
