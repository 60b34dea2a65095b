"""What speaks symbols one after the other, and what listens to them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from lvexp.shapes import Float, Tensor

#: log p of a symbol that cannot come: its probability is 0, and 0 times it is too
NEVER = -1e9


class Said(NamedTuple):
    """The state of a speaker: its hidden state, and how many symbols it has heard."""

    hidden: Float[Tensor, "N H"]
    step: int


class Ending(nn.Module):
    """What all speakers of M symbols share: how sequences end.

    Args:
        symbols: M, those that tell something; a last one beside them ends a sequence.
        length: L, the largest number of symbols. least: the smallest.
        fixed: every sequence has L symbols, and none ends one.
    """

    def __init__(self, symbols: int, length: int, least: int = 0, fixed: bool = False):
        super().__init__()
        self.length, self.least = length, least
        self.size, self.end = (symbols, None) if fixed else (symbols + 1, symbols)
        self.sizes = (self.size,)

    def log_p(self, logits: Float[Tensor, "N K"], step: int) -> Float[Tensor, "N K"]:
        """log p of each symbol at a step: no sequence ends before ``least`` symbols."""
        if self.end is not None and step < self.least:
            logits = torch.cat([logits[:, : self.end], torch.full_like(logits[:, :1], NEVER)], -1)
        return logits.log_softmax(-1)


class Speaker(Ending):
    """A GRU whose first state is the parameters, and which hears each symbol that it said.

    Args:
        hidden: P = H, width of the state. embedding: width of the symbols' vectors.
        symbols, length, least, fixed: as for :class:`Ending`.
    """

    def __init__(self, symbols: int, length: int, hidden: int, embedding: int, least: int = 0, fixed: bool = False):
        super().__init__(symbols, length, least, fixed)
        self.embedding = nn.Linear(self.size, embedding, bias=False)
        self.cell, self.output = nn.GRUCell(embedding, hidden), nn.Linear(hidden, self.size)

    def start(self, params: Float[Tensor, "N P"]) -> Said:
        return Said(params, 0)

    def speak(self, state: Said) -> Float[Tensor, "N K"]:
        return self.log_p(self.output(state.hidden), state.step)

    def listen(self, symbol: Float[Tensor, "N K"], state: Said) -> Said:
        return Said(self.cell(self.embedding(symbol), state.hidden), state.step + 1)


class Uniform(Ending):
    """Every symbol has the same probability at every step, the end among them."""

    def start(self, params: Float[Tensor, "N P"]) -> Said:
        return Said(params.new_zeros(len(params), self.size), 0)

    def speak(self, state: Said) -> Float[Tensor, "N K"]:
        return self.log_p(state.hidden, state.step)

    def listen(self, symbol: Float[Tensor, "N K"], state: Said) -> Said:
        return Said(state.hidden, state.step + 1)


class Listener(nn.Module):
    """A GRU that reads symbols up to the end. A relaxed symbol counts by the weight with which it is not the end.

    Args:
        size: K, symbols with that which ends a sequence. end: its index; None if there is none.
        hidden: width of the state. embedding: width of the symbols' vectors.
    """

    def __init__(self, size: int, end: int | None, hidden: int, embedding: int):
        super().__init__()
        self.end, self.hidden = end, hidden
        self.embedding, self.cell = nn.Linear(size, embedding, bias=False), nn.GRUCell(embedding, hidden)

    def forward(self, value: Float[Tensor, "*shape L K"]) -> Float[Tensor, "*shape H"]:
        flat = value.flatten(0, -3)
        state = flat.new_zeros(len(flat), self.hidden)
        for symbol in flat.unbind(1):
            heard = self.cell(self.embedding(symbol), state)
            state = heard if self.end is None else torch.lerp(state, heard, 1 - symbol[:, self.end, None])
        return state.view(*value.shape[:-2], self.hidden)
