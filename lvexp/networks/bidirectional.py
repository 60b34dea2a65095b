"""A recurrent encoder that reads in both directions."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import nn

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
        widths = [embedding] + [2 * hidden] * (layers - 1)
        # of each layer the forward network, then the backward one
        self.rnn = nn.ModuleList(CELLS[cell](width, hidden, batch_first=True) for width in widths for _ in range(2))
        self.register_load_state_dict_pre_hook(_renamed)

    def states(self, tokens: Words, lengths: Int[Tensor, " B"]) -> Float[Tensor, "B T H"]:
        # The backward network reads each text reversed in place, its padding still at the end. torch's bidirectional
        # networks would need packed sequences for padded texts: slow on a CPU, and a wait for the lengths on a GPU.
        at = torch.arange(tokens.shape[1], device=lengths.device)
        turned = torch.where(at < lengths[:, None], lengths[:, None] - 1 - at, at)[..., None]
        states = self.drop(self.embedding(tokens))
        for forwards, backwards in zip(self.rnn[::2], self.rnn[1::2], strict=True):
            back = backwards(states.take_along_dim(turned, 1))[0].take_along_dim(turned, 1)
            states = torch.cat([forwards(states)[0], back], -1)
        return states

    def summary(self, states: Float[Tensor, "B T H"], lengths: Int[Tensor, " B"]) -> Float[Tensor, "B H"]:
        forward, backward = states.chunk(2, -1)
        last = torch.arange(len(lengths), device=lengths.device), lengths - 1
        return torch.cat([forward[last], backward[:, 0]], -1)


def _renamed(module: nn.Module, state: dict[str, Any], prefix: str, *others: Any) -> None:
    """Names of checkpoints from when all networks were one of torch's bidirectional ones."""
    old = re.compile(rf"{re.escape(prefix)}rnn\.([a-z_]+)_l(\d+)(_reverse)?")
    for name in [*state]:
        if found := old.fullmatch(name):
            kind, layer, reverse = found.groups()
            state[f"{prefix}rnn.{2 * int(layer) + bool(reverse)}.{kind}_l0"] = state.pop(name)
