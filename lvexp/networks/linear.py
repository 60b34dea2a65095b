"""An encoder of feature vectors that is linear."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from lvexp.errors import ConfigError
from lvexp.networks.base import StateEncoder, Words, WordVectors
from lvexp.shapes import Float, Int, Tensor


class LinearEncoder(StateEncoder):
    """A sum of learned vectors, one for each feature, as large as the feature; for a word, its vector. The summary is
    the mean of the states.

    Args:
        vocabulary: F, width of the feature vectors; for texts V. hidden: H, width of the states.
        blocks: how many features make up each block, in their order; a state then has H entries for each of them, which
            no feature of another changes.
    """

    placed: Tensor | None

    def __init__(self, vocabulary: int, hidden: int = 60, blocks: Sequence[int] | None = None):
        super().__init__()
        if blocks is not None and sum(blocks) != vocabulary:
            raise ConfigError(
                f"encoder.blocks=[{','.join(map(str, blocks))}]: they have {sum(blocks)} features in all, and the data "
                f"has {vocabulary}\ntry  encoder.blocks=null"
            )
        self.width, self.embedding = hidden * len(blocks or (1,)), WordVectors(vocabulary, hidden)
        nn.init.xavier_uniform_(self.embedding.weight)
        placed = None if blocks is None else torch.block_diag(*(torch.ones(size, hidden) for size in blocks))
        self.register_buffer("placed", placed, persistent=False)

    def states(self, tokens: Words, lengths: Int[Tensor, " B"]) -> Float[Tensor, "B T H"]:
        if self.placed is None:
            return self.embedding(tokens)
        weight = self.embedding.weight.repeat(1, self.width // self.embedding.embedding_dim) * self.placed
        return tokens @ weight if tokens.is_floating_point() else nn.functional.embedding(tokens, weight)

    def summary(self, states: Float[Tensor, "B T H"], lengths: Int[Tensor, " B"]) -> Float[Tensor, "B H"]:
        own = torch.arange(states.shape[1], device=lengths.device) < lengths[:, None]
        return (states * own[..., None]).sum(1) / lengths[:, None]
