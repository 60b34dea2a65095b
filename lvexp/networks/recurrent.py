"""Recurrent encoder and decoder, LSTM (Hochreiter & Schmidhuber 1997) or GRU (Cho et al. 2014)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from lvexp.data.special import SPECIAL, Special
from lvexp.errors import ConfigError
from lvexp.networks.attention import Attention
from lvexp.networks.base import NOTHING, Memories, StateEncoder, WordDecoder, Words, WordVectors
from lvexp.networks.dropout import Dropout
from lvexp.networks.unroll import unroll
from lvexp.shapes import Float, Int, Tensor

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}
#: where the code may enter the decoder
_ENTRIES = ("initial", "every_step", "both", "state")
WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class RecurrentEncoder(StateEncoder):
    """The last hidden state after reading the whole text, ``<bos>`` and ``<eos>`` included (Bowman et al. 2016).

    There is no dropout, as in He et al. 2019: noise here blurs what the decoder could learn from z.

    Early in training, z is first used to encode the overall word frequencies, which are the same for all texts. With
    Adam this can drive the state into saturation, where all texts look the same and the gradient vanishes (figures in
    docs/remedies.md). ``norm`` removes the scale of the state and thereby prevents the saturation.

    Args:
        vocabulary: V.
        cell: "lstm" or "gru".
        embedding: width of the word vectors.
        hidden: H, width of the state and of the features.
        layers: number of recurrent layers.
        norm: whether to apply a layer norm (Ba et al. 2016) to the last state.
    """

    def __init__(
        self,
        vocabulary: int,
        cell: str = "lstm",
        embedding: int = 256,
        hidden: int = 256,
        layers: int = 1,
        norm: bool = False,
    ):
        super().__init__()
        self.width = hidden
        self.embedding = WordVectors(vocabulary, embedding)
        self.rnn = CELLS[cell](embedding, hidden, layers, batch_first=True)
        self.norm = nn.LayerNorm(hidden) if norm else nn.Identity()

    def states(self, tokens: Words, lengths: Int[Tensor, " B"]) -> Float[Tensor, "B T H"]:
        return self.rnn(self.embedding(tokens))[0]

    def summary(self, states: Float[Tensor, "B T H"], lengths: Int[Tensor, " B"]) -> Float[Tensor, "B H"]:
        # reading padding does not change the state at a text's own last token
        return self.norm(states[torch.arange(len(lengths), device=lengths.device), lengths - 1])


class RecurrentDecoder(WordDecoder):
    r"""p(x|z) = Π_t p(x_t | x_<t, z) with z in the initial state, in every input, or both; or z is the initial state.

    If z enters through the initial state, the first layer starts from the cell c = W z and the hidden state h = tanh(c)
    (He et al. 2019; a GRU has h only). Dropout is applied to the input vectors and to the outputs, nowhere else (He et
    al. 2019).

    Args:
        vocabulary: V.
        code: W, width of the code; 0 makes a language model.
        cell: "lstm" or "gru".
        embedding: width of the word vectors.
        hidden: width of the state.
        layers: number of recurrent layers.
        dropout_in: share of the word vectors' entries set to 0 in training.
        dropout_out: share of the outputs' entries set to 0 in training.
        entry: where z enters, "initial", "every_step" or "both". With "state" its first entries are the first layer's
            state itself, h and for an LSTM c, and the others enter at every step.
        inputless: read no words, only z (Bowman et al. 2016, section 3.1.1): every input is ``<unk>``.
        tie: one matrix for word vectors and output (Press & Wolf 2017); needs ``embedding`` = ``hidden``.
        attention: "none", "dot" or "additive", over the memory ``source``
            (:class:`~lvexp.networks.attention.Attention`).
        states: width of that memory's states.
        special: tokens of the vocabulary.
    """

    def __init__(
        self,
        vocabulary: int,
        code: int,
        cell: str = "lstm",
        embedding: int = 256,
        hidden: int = 256,
        layers: int = 1,
        dropout_in: float = 0.5,
        dropout_out: float = 0.5,
        entry: str = "both",
        inputless: bool = False,
        tie: bool = False,
        attention: str = "none",
        states: int = 0,
        special: Special = SPECIAL,
    ):
        super().__init__()
        if entry not in _ENTRIES:
            raise ConfigError(f"decoder.entry={entry}: z enters the decoder at one of {', '.join(_ENTRIES)}")
        if tie and embedding != hidden:
            raise ConfigError(
                f"decoder.tie=true with decoder.embedding={embedding} and decoder.hidden={hidden}: one matrix serves "
                f"as both only where the two are equal\ntry  decoder.embedding={hidden}"
            )
        self.inputless, self.unk = inputless, special.unk
        self.embedding = WordVectors(vocabulary, embedding)
        self.given = hidden * (2 if cell == "lstm" else 1) if entry == "state" else 0  # entries of z that are the state
        if code < self.given:
            raise ConfigError(
                f"decoder.entry=state: a state of decoder.hidden={hidden} has {self.given} numbers, and z has {code}\n"
                "try  decoder.entry=both"
            )
        self.every = code - self.given if entry != "initial" else 0
        self.rnn = CELLS[cell](embedding + self.every, hidden, layers, batch_first=True)
        self.initial = nn.Linear(code, hidden, bias=False) if code and entry in ("initial", "both") else None
        self.drop_in, self.drop_out = Dropout(dropout_in), Dropout(dropout_out)
        self.output = nn.Linear(hidden, vocabulary, bias=False)
        if tie:
            self.output.weight = self.embedding.weight
        self.skip = nn.ModuleList()
        self.attention = Attention(attention, hidden, states) if attention != "none" else None

    def join(self, code: int) -> None:
        """Makes every layer pass on h + W z instead of h, each with its own W (``regularizer=skip``)."""
        self.skip.extend(nn.Linear(code, self.rnn.hidden_size, bias=False) for _ in range(self.rnn.num_layers))

    def states(
        self, inputs: Words, code: Float[Tensor, "S B W"], memories: Memories = NOTHING
    ) -> Float[Tensor, "S B T H"]:
        states = self._own(inputs, code)
        return states if self.attention is None else self.attention(states, *self._memory(memories))

    def attended(
        self, inputs: Words, code: Float[Tensor, "S B W"], memories: Memories
    ) -> Float[Tensor, "S B T L"] | None:
        if self.attention is None:
            return None
        key, _, mask = self._memory(memories)
        return self.attention.weights(self._own(inputs, code), key, mask)

    def _own(self, inputs: Words, code: Float[Tensor, "S B W"]) -> Float[Tensor, "S B T H"]:
        """The recurrent layers' states, before attention."""
        flat = code.flatten(0, 1)
        if len(code) > 1 and not self.training and not torch.is_grad_enabled() and code.device.type == "cpu":
            states = self._score(inputs, code)
        else:
            states, _ = self._read(inputs.repeat(len(code), *[1] * (inputs.ndim - 1)), flat, self._initial(flat))
        return states.unflatten(0, code.shape[:2])

    def _memory(self, memories: Memories) -> tuple[Tensor, ...]:
        """Keys, states and mask of the source; nothing without attention."""
        if self.attention is None:
            return ()
        source = memories["source"]
        return self.attention.key(source.states), source.states, source.mask

    def _read(self, tokens: Words, code: Float[Tensor, "N W"], state):
        if self.inputless:
            tokens = torch.full(tokens.shape[:2], self.unk, device=tokens.device)
        words = self.drop_in(self.embedding(tokens))
        if self.every:
            words = torch.cat([words, code[:, None, self.given :].expand(-1, tokens.shape[1], -1)], -1)
        return self._joined(words, code, state) if self.skip else self.rnn(words, state)

    def _joined(self, states: Float[Tensor, "N T I"], code: Float[Tensor, "N W"], state):
        """The layers one by one, each with its own projection of the code added."""
        ends = []
        for layer, share in enumerate(self.skip):
            weights = [getattr(self.rnn, f"{kind}_l{layer}") for kind in WEIGHTS]
            options = (weights, True, 1, 0.0, self.training, False, True)
            if isinstance(state, tuple):
                states, *end = torch.lstm(states, [part[layer : layer + 1] for part in state], *options)
            else:
                states, *end = torch.gru(states, state[layer : layer + 1], *options)
            states = states + share(code)[:, None]
            ends.append(end)
        parts = tuple(torch.cat(part) for part in zip(*ends, strict=True))
        return states, parts if isinstance(state, tuple) else parts[0]

    def _score(self, inputs: Words, code: Float[Tensor, "S B W"]) -> Float[Tensor, "S_B T H"]:
        """The states of many draws on a CPU, without gradients. The words' contribution to the first layer's gates is
        computed once per text instead of once per draw."""
        blind = torch.full(inputs.shape[:2], self.unk, device=inputs.device) if self.inputless else inputs
        words = self.embedding(blind)
        into, bias = self.rnn.weight_ih_l0, self.rnn.bias_ih_l0
        width = words.shape[-1]
        gates = F.linear(words, into[:, :width], bias)
        size = *code.shape[:2], len(bias)
        rest = code[..., self.given :]
        constant = F.linear(rest, into[:, width:]) if self.every else code.new_zeros(1, 1, 1).expand(size)
        flat = code.flatten(0, 1)
        recurrent = self._initial(flat)
        hidden, cell = recurrent if isinstance(recurrent, tuple) else (recurrent, None)
        states = gates.new_empty(0)
        for layer in range(self.rnn.num_layers):
            if layer:
                into, bias = (getattr(self.rnn, f"{name}_ih_l{layer}") for name in ("weight", "bias"))
                gates, constant = F.linear(states, into, bias), gates.new_zeros(1, 1, 1).expand(1, len(flat), len(bias))
            weight, bias = (getattr(self.rnn, f"{name}_hh_l{layer}") for name in ("weight", "bias"))
            states = unroll(
                gates, constant, hidden[layer], None if cell is None else cell[layer], weight, bias
            )  # fmt: skip
            if self.skip:
                states += self.skip[layer](flat)[:, None]
        return states

    def _initial(self, code: Float[Tensor, "N W"]):
        size, lstm = self.rnn.hidden_size, isinstance(self.rnn, nn.LSTM)
        nothing = code.new_zeros(self.rnn.num_layers, len(code), size)
        if self.given:
            first = code[:, : self.given].split(size, -1)
        else:
            cell = nothing[0] if self.initial is None else self.initial(code)
            first = (cell.tanh(), cell) if lstm else (cell.tanh(),)
        parts = tuple(torch.cat([part[None], nothing[1:]]) for part in first)
        return parts if lstm else parts[0]

    def start(self, code: Float[Tensor, "N W"], memories: Memories = NOTHING):
        recurrent = self._initial(code)
        parts = recurrent if isinstance(recurrent, tuple) else (recurrent,)
        return code, self._memory(memories), tuple(part.transpose(0, 1) for part in parts)

    def step(self, tokens: Int[Tensor, " N"] | Float[Tensor, "N V"], state):
        code, memory, parts = state
        parts = [part.transpose(0, 1).contiguous() for part in parts]
        states, recurrent = self._read(tokens[:, None], code, tuple(parts) if len(parts) > 1 else parts[0])
        parts = recurrent if isinstance(recurrent, tuple) else (recurrent,)
        if self.attention is not None:
            states = self.attention(states[None], *memory)[0]
        log_p = self.output(self.drop_out(states[:, 0])).log_softmax(-1)
        return log_p, (code, memory, tuple(part.transpose(0, 1) for part in parts))
