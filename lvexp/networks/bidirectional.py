"""A recurrent encoder that reads in both directions."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lvexp.networks.base import StateEncoder, Words, WordVectors
from lvexp.networks.dropout import Dropout
from lvexp.networks.recurrent import CELLS, WEIGHTS
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
        if words.device.type == "cpu":
            return self._unpacked(words, lengths)
        packed = pack_padded_sequence(words, lengths.cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=tokens.shape[1])[0]

    def _unpacked(self, states: Float[Tensor, "B T I"], lengths: Int[Tensor, " B"]) -> Float[Tensor, "B T H"]:
        """The states of padded texts, each direction as a network of its own: the backward one reads every text
        reversed in place, with its padding still at the end. On a CPU, packed sequences are several times slower."""
        at = torch.arange(states.shape[1], device=lengths.device)
        turned = torch.where(at < lengths[:, None], lengths[:, None] - 1 - at, at)[..., None]
        run = torch.lstm if isinstance(self.rnn, nn.LSTM) else torch.gru
        zero = states.new_zeros(1, len(states), self.rnn.hidden_size)
        start = [zero, zero] if isinstance(self.rnn, nn.LSTM) else zero
        for layer in range(self.rnn.num_layers):
            ends = []
            for suffix in ("", "_reverse"):
                weights = [getattr(self.rnn, f"{kind}_l{layer}{suffix}") for kind in WEIGHTS]
                words = states.take_along_dim(turned, 1) if suffix else states
                found = run(words, start, weights, True, 1, 0.0, self.training, False, True)[0]  # pyright: ignore
                ends.append(found.take_along_dim(turned, 1) if suffix else found)
            states = torch.cat(ends, -1)
        return states

    def summary(self, states: Float[Tensor, "B T H"], lengths: Int[Tensor, " B"]) -> Float[Tensor, "B H"]:
        forward, backward = states.chunk(2, -1)
        last = torch.arange(len(lengths), device=lengths.device), lengths - 1
        return torch.cat([forward[last], backward[:, 0]], -1)
