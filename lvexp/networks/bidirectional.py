"""A recurrent encoder that reads in both directions."""

from __future__ import annotations

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lvexp.networks.base import StateEncoder, Words, WordVectors
from lvexp.networks.dropout import Dropout
from lvexp.networks.recurrent import CELLS
from lvexp.shapes import Float, Int, Tensor


class BidirectionalEncoder(StateEncoder):
    """Two recurrent networks read a text, one forwards and one backwards, and the state of a token is the
    concatenation of both (Graves & Schmidhuber 2005). The summary of a text is the final state of each network.

    Args:
        vocabulary: V.
        cell: "lstm" or "gru".
        embedding: width of the word vectors.
        hidden: width of the states of each direction; H is twice that.
        layers: number of recurrent layers.
        dropout: share of the word vectors' entries set to 0 in training.
    """

    def __init__(
        self,
        vocabulary: int,
        cell: str = "lstm",
        embedding: int = 256,
        hidden: int = 128,
        layers: int = 1,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.width = 2 * hidden
        self.embedding = WordVectors(vocabulary, embedding)
        self.drop = Dropout(dropout)
        self.rnn = CELLS[cell](embedding, hidden, layers, batch_first=True, bidirectional=True)

    def states(self, tokens: Words, lengths: Int[Tensor, " B"]) -> Float[Tensor, "B T H"]:
        words = self.drop(self.embedding(tokens))
        if bool((lengths == tokens.shape[1]).all()):
            return self.rnn(words)[0]
        packed = pack_padded_sequence(words, lengths.cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=tokens.shape[1])[0]

    def summary(self, states: Float[Tensor, "B T H"], lengths: Int[Tensor, " B"]) -> Float[Tensor, "B H"]:
        forward, backward = states.chunk(2, -1)
        last = torch.arange(len(lengths), device=lengths.device), lengths - 1
        return torch.cat([forward[last], backward[:, 0]], -1)
