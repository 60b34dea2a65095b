"""A recurrent decoder whose state depends on what it attends to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from lvexp.errors import ConfigError
from lvexp.networks.attention import Alignment
from lvexp.networks.base import NOTHING, Memories, WordDecoder, Words, WordVectors
from lvexp.networks.dropout import Dropout
from lvexp.shapes import Bool, Float, Int, Tensor

ATTENDS = {"none": (), "source": ("source",), "tags": ("tags",), "both": ("tags", "source")}
#: keys, states and mask of each memory
_Memory = tuple[Float[Tensor, "N _ H"], Float[Tensor, "N _ M"], Bool[Tensor, "N _"]]
_Weights = tuple[Float[Tensor, "G C"], Float[Tensor, "Q H"], Float[Tensor, " Q"]]


class AlignedDecoder(WordDecoder):
    r"""p(x|z, ·) = Π_t p(x_t | x_<t, z, ·): a GRU that attends before each step; what it looks at is part of its input
    (Bahdanau, Cho & Bengio 2015; over the tags of a word Zhou & Neubig 2017):

    .. math::
        h_0 = \tanh(W z), \quad c^m_t = \sum_l \alpha^m_{tl}(h_{t-1}) s^m_l, \quad
        h_t = \mathrm{GRU}([x_{t-1}; z; c_t], h_{t-1}), \quad p(x_t) \propto \exp(W_o \tanh(W_c [c_t; h_t]))

    with the states :math:`s^m` of each memory, and c_t all their contexts.

    Args:
        vocabulary: V.
        code: W, width of the code.
        states: width of the states of each memory.
        attends: "source", "tags" or "both", the memories; or "none".
        embedding: width of the word vectors. hidden: H, of the state.
        dropout_in: share of the word vectors' entries set to 0 in training. dropout_out: of the outputs'.
    """

    def __init__(
        self,
        vocabulary: int,
        code: int,
        states: int,
        attends: str = "source",
        embedding: int = 128,
        hidden: int = 256,
        dropout_in: float = 0.3,
        dropout_out: float = 0.3,
    ):
        super().__init__()
        if attends not in ATTENDS:
            raise ConfigError(f"decoder.attends={attends}: it is one of {', '.join(ATTENDS)}")
        self.names = ATTENDS[attends]
        context = states * len(self.names)
        self.embedding = WordVectors(vocabulary, embedding)
        self.initial = nn.Linear(code, hidden, bias=False)
        self.alignments = nn.ModuleDict({name: Alignment("additive", hidden, states) for name in self.names})
        self.cell = nn.GRUCell(embedding + code + context, hidden)
        self.given = embedding + code
        self.readout = nn.Linear(context + hidden, hidden, bias=False)
        self.drop_in, self.drop_out = Dropout(dropout_in), Dropout(dropout_out)
        self.output = nn.Linear(hidden, vocabulary, bias=False)

    def states(
        self, inputs: Words, code: Float[Tensor, "S B W"], memories: Memories = NOTHING
    ) -> Float[Tensor, "S B T H"]:
        return self._run(inputs, code, memories)[0]

    def attended(
        self, inputs: Words, code: Float[Tensor, "S B W"], memories: Memories
    ) -> Float[Tensor, "S B T L"] | None:
        if "source" not in self.names:
            return None
        weights = self._run(inputs, code, memories)[1]
        return torch.stack([step[self.names.index("source")] for step in weights], 1).unflatten(0, code.shape[:2])

    def _run(
        self, inputs: Words, code: Float[Tensor, "S B W"], memories: Memories
    ) -> tuple[Float[Tensor, "S B T H"], list[list[Float[Tensor, "N _"]]]]:
        """The inputs of the output layer, and the weights of each memory at each step."""
        flat, weights = code.flatten(0, 1), self._weights()
        memory = self._memory(memories, len(code))
        words = self.drop_in(self.embedding(inputs)).repeat(len(code), 1, 1)
        state, states, contexts, looked = torch.tanh(self.initial(flat)), [], [], []
        # the share of the words and of z in the gates, for all steps at once
        weight = self.cell.weight_ih
        gates = F.linear(words, weight[:, : words.shape[-1]], self.cell.bias_ih)
        gates = gates + F.linear(flat, weight[:, words.shape[-1] : self.given])[:, None]
        for gate in gates.unbind(1):
            state, context, each = self._step(gate, state, memory, weights)
            states.append(state)
            contexts.append(context)
            looked.append(each)
        read = self._read(torch.stack(contexts, 1), torch.stack(states, 1))
        return read.unflatten(0, code.shape[:2]), looked

    def _weights(self) -> _Weights:
        """The weights of a step: of the contexts in the gates, and of the state in queries and gates together."""
        queries = [_query(part) for part in self.alignments.values()]
        weight = torch.cat([*(query.weight for query in queries), self.cell.weight_hh])
        bias = torch.cat([*(query.bias for query in queries), self.cell.bias_hh])
        return self.cell.weight_ih[:, self.given :], weight, bias

    def _step(
        self, gate: Float[Tensor, "N G"], state: Float[Tensor, "N H"], memory: Sequence[_Memory], weights: _Weights
    ) -> tuple[Float[Tensor, "N H"], Float[Tensor, "N C"], list[Float[Tensor, "N _"]]]:
        """The next state, the contexts, and the weights of each memory."""
        into, weight, bias = weights
        *queries, own_reset, own_update, own_new = F.linear(state, weight, bias).split(state.shape[-1], -1)
        contexts, looked = [], []
        for part, asked, (key, value, mask) in zip(self.alignments.values(), queries, memory, strict=True):
            share = _aligned(part, asked, key, mask)
            contexts.append(torch.bmm(share[:, None], value)[:, 0])
            looked.append(share)
        context = torch.cat(contexts, -1) if contexts else state[:, :0]
        reset, update, new = (gate + F.linear(context, into)).chunk(3, -1)
        kept = torch.sigmoid(update + own_update)
        new = torch.tanh(new + torch.sigmoid(reset + own_reset) * own_new)
        return new + kept * (state - new), context, looked

    def _read(self, context: Float[Tensor, "*N C"], state: Float[Tensor, "*N H"]) -> Float[Tensor, "*N H"]:
        """What the output layer reads."""
        return torch.tanh(self.readout(torch.cat([context, state], -1)))

    def _memory(self, memories: Memories, draws: int = 1) -> list[_Memory]:
        found = [(part.key, memories[name]) for name, part in self.alignments.items()]
        made = [(key(memory.states), memory.states, memory.mask) for key, memory in found]  # pyright: ignore
        return [tuple(part.repeat(draws, *[1] * (part.ndim - 1)) for part in each) for each in made]  # pyright: ignore

    def start(self, code: Float[Tensor, "N W"], memories: Memories = NOTHING) -> Any:
        return code, torch.tanh(self.initial(code)), tuple(self._memory(memories))

    def step(self, tokens: Int[Tensor, " N"] | Float[Tensor, "N V"], state: Any) -> tuple[Float[Tensor, "N V"], Any]:
        code, hidden, memory = state
        given = torch.cat([self.drop_in(self.embedding(tokens)), code], -1)
        gate = F.linear(given, self.cell.weight_ih[:, : self.given], self.cell.bias_ih)
        hidden, context, _ = self._step(gate, hidden, memory, self._weights())
        read = self.drop_out(self._read(context, hidden))
        return self.output(read).log_softmax(-1), (code, hidden, memory)


def _query(part: nn.Module) -> nn.Linear:
    found: Any = part
    return found.query


def _aligned(
    part: nn.Module, asked: Float[Tensor, "N H"], key: Float[Tensor, "N L H"], mask: Bool[Tensor, "N L"]
) -> Float[Tensor, "N L"]:
    """The weights of one step, with a query for each memory; :meth:`Alignment.weights` has many for one."""
    found: Any = part
    energy = found.score(torch.tanh(asked[:, None] + key))[..., 0]
    return energy.masked_fill(~mask, -torch.inf).softmax(-1)
