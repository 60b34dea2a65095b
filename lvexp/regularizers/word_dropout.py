"""Hides words from the decoder."""

from __future__ import annotations

import torch

from lvexp.data.special import SPECIAL
from lvexp.errors import ConfigError
from lvexp.models.base import LatentModel
from lvexp.regularizers.base import Regularizer
from lvexp.shapes import Int, Tensor


class WordDropout(Regularizer):
    """Replaces each input word of the decoder by ``<unk>`` with probability 1 - keep (Bowman et al. 2016, sec. 3.1.1).

    The decoder can then no longer rely on the preceding words, and needs z. ``<bos>``, ``<eos>`` and padding are never
    replaced. It acts in training only.

    Args:
        keep: share of the words that the decoder still sees; 0 is the inputless decoder.
    """

    def __init__(self, keep: float = 0.75):
        super().__init__()
        if not 0 <= keep <= 1:
            raise ConfigError(f"regularizer.word_dropout.keep={keep}: a share lies between 0 and 1")
        self.keep, self.special = keep, SPECIAL

    def attach(self, model: LatentModel) -> None:
        self.special = model.vocabulary.special

    def corrupt(self, tokens: Int[Tensor, "B T"]) -> Int[Tensor, "B T"]:
        drop = torch.rand(tokens.shape, device=tokens.device) >= self.keep
        for special in self.special.silent:
            drop &= tokens != special
        return tokens.masked_fill(drop, self.special.unk)
