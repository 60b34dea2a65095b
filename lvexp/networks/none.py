"""An encoder that reads nothing, for models without a latent variable."""

from __future__ import annotations

from lvexp.networks.base import AbstractEncoder, Words
from lvexp.shapes import Float, Int, Tensor


class NoEncoder(AbstractEncoder):
    """Features of width 0.

    Args:
        vocabulary: V; unused, but every encoder is given it.
    """

    def __init__(self, vocabulary: int = 0):
        super().__init__()
        self.width = 0

    def forward(self, tokens: Words, lengths: Int[Tensor, " B"]) -> Float[Tensor, "B H"]:
        return tokens.new_zeros((tokens.shape[0], 0), dtype=lengths.float().dtype)
