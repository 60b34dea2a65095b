"""An encoder of feature vectors that is linear."""

from __future__ import annotations

import torch
from torch import nn

from lvexp.networks.base import StateEncoder, Words, WordVectors
from lvexp.shapes import Float, Int, Tensor


class LinearEncoder(StateEncoder):
    """A sum of learned vectors, one for each feature, as large as the feature; for a word, its vector. The summary is
    the mean of the states.

    Args:
        vocabulary: F, width of the feature vectors; for texts V. hidden: H, width of the states.
    """

    def __init__(self, vocabulary: int, hidden: int = 60):
        super().__init__()
        self.width, self.embedding = hidden, WordVectors(vocabulary, hidden)
        nn.init.xavier_uniform_(self.embedding.weight)

    def states(self, tokens: Words, lengths: Int[Tensor, " B"]) -> Float[Tensor, "B T H"]:
        return self.embedding(tokens)

    def summary(self, states: Float[Tensor, "B T H"], lengths: Int[Tensor, " B"]) -> Float[Tensor, "B H"]:
        own = torch.arange(states.shape[1], device=lengths.device) < lengths[:, None]
        return (states * own[..., None]).sum(1) / lengths[:, None]
