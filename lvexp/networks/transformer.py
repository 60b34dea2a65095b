"""Transformer encoder and decoder (Vaswani et al. 2017), with layer norms before each part (Xiong et al. 2020)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F

from lvexp.errors import ConfigError
from lvexp.networks.base import NOTHING, Memories, StateEncoder, WordDecoder, Words, WordVectors
from lvexp.networks.dropout import Dropout
from lvexp.reading import Memory
from lvexp.shapes import Bool, Float, Int, Shaped, Tensor

#: where the code may enter the decoder
ENTRIES = ("memory", "addend", "prefix")
#: value of ``attends`` → names of the memories; "auto": all that the model has
ATTENDS = {"auto": None, "none": (), "source": ("source",), "tags": ("tags",), "both": ("tags", "source")}
#: a layer's keys and values of the positions so far
Past = tuple[Float[Tensor, "N h _ d"], Float[Tensor, "N h _ d"]]
#: keys, values and mask of a memory
Looked = tuple[Float[Tensor, "N h _ d"], Float[Tensor, "N h _ d"], Bool[Tensor, "N 1 1 _"]]


class Positions(nn.Module):
    r"""Word vectors as inputs of the first layer, of width H: :math:`\sqrt{E}\,e(x_t) + s(t)` (Vaswani et al. 2017,
    sections 3.4 and 3.5), where s are sines and cosines of the position, so that a text may have any length. If E is
    not H, a linear map comes between.

    Args:
        embedding: E. hidden: H. dropout: share of the inputs' entries set to 0 in training.
    """

    rates: Float[Tensor, " R"]

    def __init__(self, embedding: int, hidden: int, dropout: float):
        super().__init__()
        self.widen = nn.Linear(embedding, hidden) if embedding != hidden else nn.Identity()
        self.drop = Dropout(dropout)
        rates = torch.exp(torch.arange(0, hidden, 2) * (-math.log(10_000) / hidden))
        self.register_buffer("rates", rates, persistent=False)
        self.scale, self.hidden = math.sqrt(embedding), hidden

    def forward(
        self, vectors: Float[Tensor, "N T E"], first: int = 0, addend: Float[Tensor, "N 1 H"] | None = None
    ) -> Float[Tensor, "N T H"]:
        """The inputs; ``first`` is the position of the first word, ``addend`` is added to all of them."""
        angles = torch.arange(first, first + vectors.shape[1], device=vectors.device)[:, None] * self.rates
        places = torch.stack([angles.sin(), angles.cos()], -1).flatten(-2)[:, : self.hidden]
        found = self.widen(vectors * self.scale) + places
        return self.drop(found if addend is None else found + addend)


class TransformerEncoder(StateEncoder):
    """torch's encoder layers over a whole text. The summary is the mean of the states of a text's own positions.

    Dropout is applied to the inputs and to the output of each part of a layer, not to the weights of the attention.

    Args:
        vocabulary: V.
        embedding: width of the word vectors.
        hidden: H, width of the states and of the features.
        layers: number of layers.
        heads: number of attention heads, which share ``hidden`` equally.
        expansion: width of the hidden layer of the feed-forward part, in multiples of ``hidden``.
        dropout: share of entries set to 0 in training.
    """

    def __init__(
        self,
        vocabulary: int,
        embedding: int = 256,
        hidden: int = 256,
        layers: int = 2,
        heads: int = 4,
        expansion: int = 4,
        dropout: float = 0.1,
    ):
        super().__init__()
        _divisible("encoder", hidden, heads)
        self.width = hidden
        self.embedding, self.positions = WordVectors(vocabulary, embedding), Positions(embedding, hidden, dropout)
        sizes = hidden, heads, expansion * hidden
        made = [nn.TransformerEncoderLayer(*sizes, 0.0, batch_first=True, norm_first=True) for _ in range(layers)]
        for layer in made:
            layer.dropout = layer.dropout1 = layer.dropout2 = Dropout(dropout)  # pyright: ignore
        self.layers, self.norm = nn.ModuleList(made), nn.LayerNorm(hidden)

    def states(self, tokens: Words, lengths: Int[Tensor, " B"]) -> Float[Tensor, "B T H"]:
        beyond = torch.arange(tokens.shape[1], device=lengths.device) >= lengths[:, None]
        padding = beyond if beyond.device.type != "cpu" or bool(beyond.any()) else None  # a GPU would be waited for
        x = self.positions(self.embedding(tokens))
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=padding)
        return self.norm(x)

    def summary(self, states: Float[Tensor, "B T H"], lengths: Int[Tensor, " B"]) -> Float[Tensor, "B H"]:
        own = torch.arange(states.shape[1], device=lengths.device) < lengths[:, None]
        return (states * own[..., None]).sum(1) / lengths[:, None]


class Look(nn.Module):
    """Attention of several heads to the states of a memory, whose keys and values are computed once."""

    def __init__(self, hidden: int, heads: int, states: int):
        super().__init__()
        self.heads, self.norm = heads, nn.LayerNorm(hidden)
        self.query, self.given = nn.Linear(hidden, hidden), nn.Linear(states, 2 * hidden)
        self.out = nn.Linear(hidden, hidden)

    def open(self, memory: Memory, draws: int) -> Looked:
        """Keys, values and mask, for ``draws`` draws of the code."""
        key, value = _split(self.given(memory.states), 2, self.heads)
        found = key, value, memory.mask[:, None, None]
        return cast(Looked, tuple(_repeated(part, draws) for part in found))

    def forward(self, x: Float[Tensor, "N T H"], looked: Looked) -> Float[Tensor, "N T H"]:
        key, value, mask = looked
        (query,) = _split(self.query(self.norm(x)), 1, self.heads)
        return self.out(_joined(F.scaled_dot_product_attention(query, key, value, attn_mask=mask)))

    def weights(self, x: Float[Tensor, "N T H"], looked: Looked) -> Float[Tensor, "N T L"]:
        """The weights of the memory's positions, the mean over heads."""
        key, _, mask = looked
        (query,) = _split(self.query(self.norm(x)), 1, self.heads)
        energy = query @ key.transpose(-1, -2) / math.sqrt(key.shape[-1])
        return energy.masked_fill(~mask, -torch.inf).softmax(-1).mean(1)


class Layer(nn.Module):
    """Attention to the words so far, to each memory, and a feed-forward part, each added to its input:
    x + f(norm(x))."""

    def __init__(self, hidden: int, heads: int, expansion: int, dropout: float, memories: Sequence[str], states: int):
        super().__init__()
        self.heads, self.drop = heads, Dropout(dropout)
        self.norm, self.given, self.out = nn.LayerNorm(hidden), nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)
        self.looks = nn.ModuleDict({name: Look(hidden, heads, states) for name in memories})
        self.wide = nn.Sequential(
            nn.LayerNorm(hidden), nn.Linear(hidden, expansion * hidden), nn.ReLU(), Dropout(dropout),
            nn.Linear(expansion * hidden, hidden),
        )  # fmt: skip

    def open(self, memories: Memories, draws: int) -> tuple[Looked, ...]:
        """Keys, values and mask of each memory."""
        return tuple(cast(Look, look).open(memories[name], draws) for name, look in self.looks.items())

    def own(self, x: Float[Tensor, "N T H"], past: Past) -> tuple[Float[Tensor, "N T H"], Past]:
        """After the attention to the words so far, given keys and values of the positions before x; and those with
        x's."""
        query, key, value = _split(self.given(self.norm(x)), 3, self.heads)
        before, length = past[0].shape[2], x.shape[1]
        if before:
            key, value = torch.cat([past[0].to(key), key], 2), torch.cat([past[1].to(value), value], 2)
        mask = None
        if before and length > 1:
            mask = torch.ones(length, before + length, dtype=torch.bool, device=x.device).tril(before)
        causal = mask is None and length > 1
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)
        return x + self.drop(self.out(_joined(found))), (key, value)

    def forward(
        self, x: Float[Tensor, "N T H"], past: Past, looked: Sequence[Looked]
    ) -> tuple[Float[Tensor, "N T H"], Past]:
        x, past = self.own(x, past)
        for look, memory in zip(self.looks.values(), looked, strict=True):
            x = x + self.drop(look(x, memory))
        return x + self.drop(self.wide(x)), past

    def seen(
        self, x: Float[Tensor, "N T H"], past: Past, looked: Sequence[Looked], wanted: str
    ) -> Float[Tensor, "N T L"]:
        """The weights of the positions of the memory ``wanted``, the mean over heads."""
        x, _ = self.own(x, past)
        for (name, look), memory in zip(self.looks.items(), looked, strict=True):
            if name == wanted:
                return cast(Look, look).weights(x, memory)
            x = x + self.drop(look(x, memory))
        raise KeyError(wanted)


class TransformerDecoder(WordDecoder):
    r"""p(x|z) = Π_t p(x_t | x_<t, z) by causal self-attention over all words so far.

    z enters in one of three ways (the first two are those of Optimus, Li et al. 2020, section 3.1):

    - ``memory``: in each layer, a key and a value computed from z, which every position attends to beside the words. To
      a position of its own behind a separate attention every weight would be 1, and z an addend to each layer.
    - ``addend``: W z, added to every word vector.
    - ``prefix``: W z is the first position, before ``<bos>``, and goes through all layers.

    Each layer also attends to the states of the model's other memories, such as those of a source. Training scores all
    positions at once; writing keeps the keys and values of the positions so far, so that each step reads one word.
    Dropout of a share ``dropout`` is applied to the output of each part of a layer, not to the attention's weights.

    Args:
        vocabulary: V.
        code: W, width of the code; 0 makes a language model.
        embedding: width of the word vectors.
        hidden: H, width of the states.
        layers: number of layers.
        heads: number of attention heads, which share ``hidden`` equally.
        expansion: width of the hidden layer of the feed-forward part, in multiples of ``hidden``.
        dropout: share of entries set to 0 within the layers in training.
        dropout_in: of the inputs. dropout_out: of the outputs.
        entry: where z enters, "memory", "addend" or "prefix".
        tie: one matrix for word vectors and output (Press & Wolf 2017); needs ``embedding`` = ``hidden``.
        attends: memories to attend to: "source", "tags", "both", "none", or "auto", all that the model has.
        states: width of their states.
        memories: names of those that the model has.
    """

    def __init__(
        self,
        vocabulary: int,
        code: int,
        embedding: int = 256,
        hidden: int = 256,
        layers: int = 2,
        heads: int = 4,
        expansion: int = 4,
        dropout: float = 0.2,
        dropout_in: float = 0.3,
        dropout_out: float = 0.3,
        entry: str = "memory",
        tie: bool = False,
        attends: str = "auto",
        states: int = 0,
        memories: Sequence[str] = (),
    ):
        super().__init__()
        if entry not in ENTRIES:
            raise ConfigError(f"decoder.entry={entry}: z enters the decoder at one of {', '.join(ENTRIES)}")
        if attends not in ATTENDS:
            raise ConfigError(f"decoder.attends={attends}: it is one of {', '.join(ATTENDS)}")
        if tie and embedding != hidden:
            raise ConfigError(
                f"decoder.tie=true with decoder.embedding={embedding} and decoder.hidden={hidden}: one matrix serves "
                f"as both only where the two are equal\ntry  decoder.embedding={hidden}"
            )
        _divisible("decoder", hidden, heads)
        named = ATTENDS[attends]
        self.names = tuple(memories) if named is None else named
        self.entry, self.heads, self.hidden = entry if code else "none", heads, hidden
        self.embedding, self.positions = WordVectors(vocabulary, embedding), Positions(embedding, hidden, dropout_in)
        width = 2 * layers * hidden if entry == "memory" else hidden
        self.code = nn.Linear(code, width) if code else None
        sizes = hidden, heads, expansion, dropout, self.names, states
        self.layers = cast(Sequence[Layer], nn.ModuleList(Layer(*sizes) for _ in range(layers)))
        self.norm = nn.LayerNorm(hidden)
        self.drop_out = Dropout(dropout_out)
        self.output = nn.Linear(hidden, vocabulary, bias=False)
        if tie:
            self.output.weight = self.embedding.weight

    def states(
        self, inputs: Words, code: Float[Tensor, "S B W"], memories: Memories = NOTHING
    ) -> Float[Tensor, "S B T H"]:
        state = self._start(code.flatten(0, 1), memories, len(code))
        return self._read(_repeated(inputs, len(code)), state)[0].unflatten(0, code.shape[:2])

    def attended(
        self, inputs: Words, code: Float[Tensor, "S B W"], memories: Memories
    ) -> Float[Tensor, "S B T L"] | None:
        """Those of the last layer, the mean over heads."""
        if "source" not in self.names:
            return None
        state = self._start(code.flatten(0, 1), memories, len(code))
        x, *parts = self._opened(_repeated(inputs, len(code)), state)
        *before, last = zip(self.layers, *parts, strict=True)
        for layer, past, looked in before:
            x, _ = layer(x, past, looked)
        return last[0].seen(x, *last[1:], "source").unflatten(0, code.shape[:2])

    def _start(self, code: Float[Tensor, "N W"], memories: Memories, draws: int) -> Any:
        """The state before the first word, for ``draws`` draws of the code of each text: what is added to word vectors,
        each layer's keys and values so far, and what it looks at."""
        looked = tuple(layer.open(memories, draws) for layer in self.layers)
        empty = code.new_zeros(len(code), self.heads, 0, self.hidden // self.heads)
        pasts: tuple[Past, ...] = tuple((empty, empty) for _ in self.layers)
        addend = code.new_zeros(len(code), 1, 1)
        if self.code is None:
            return addend, pasts, looked
        given = self.code(code)[:, None]
        if self.entry == "addend":
            return given, pasts, looked
        if self.entry == "memory":
            parts = _split(given, 2 * len(self.layers), self.heads)
            return addend, tuple(zip(parts[::2], parts[1::2], strict=True)), looked
        return addend, self._through(given, pasts, looked)[1], looked

    def _opened(self, inputs: Words, state: Any) -> tuple[Float[Tensor, "N T H"], tuple[Past, ...], Any]:
        """The first layer's input, keys and values so far, and what each layer looks at."""
        addend, pasts, looked = state
        vectors, first = self.embedding(inputs), pasts[0][0].shape[2]
        return self.positions(vectors, first, addend if self.entry == "addend" else None), pasts, looked

    def _through(
        self, x: Float[Tensor, "N T H"], pasts: tuple[Past, ...], looked: Any
    ) -> tuple[Float[Tensor, "N T H"], tuple[Past, ...]]:
        kept = []
        for layer, past, memory in zip(self.layers, pasts, looked, strict=True):
            x, past = layer(x, past, memory)
            kept.append(past)
        return x, tuple(kept)

    def _read(self, inputs: Words, state: Any) -> tuple[Float[Tensor, "N T H"], Any]:
        """The input of the output layer at each position, and the state after them."""
        x, pasts = self._through(*self._opened(inputs, state))
        return self.norm(x), (state[0], pasts, state[2])

    def start(self, code: Float[Tensor, "N W"], memories: Memories = NOTHING) -> Any:
        return self._start(code, memories, 1)

    def step(self, tokens: Int[Tensor, " N"] | Float[Tensor, "N V"], state: Any) -> tuple[Float[Tensor, "N V"], Any]:
        x, state = self._read(tokens[:, None], state)
        return self.output(self.drop_out(x[:, 0])).log_softmax(-1), state


def _split(x: Float[Tensor, "N T W"], parts: int, heads: int) -> tuple[Float[Tensor, "N h T d"], ...]:
    """``parts`` tensors beside each other, each with its heads apart."""
    return x.unflatten(-1, (parts, heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)


def _joined(x: Float[Tensor, "N h T d"]) -> Float[Tensor, "N T W"]:
    return x.transpose(1, 2).flatten(2)


def _repeated(x: Shaped[Tensor, "B ..."], draws: int) -> Shaped[Tensor, "S_B ..."]:
    """Once for each draw, in the order of codes [S, B] that are flattened."""
    return x.repeat(draws, *[1] * (x.ndim - 1)) if draws > 1 else x


def _divisible(part: str, hidden: int, heads: int) -> None:
    if hidden % heads:
        fitting = [str(count) for count in range(1, hidden + 1) if not hidden % count][:5]
        raise ConfigError(
            f"{part}.heads={heads} with {part}.hidden={hidden}: the heads share the width equally\n"
            f"try  {part}.heads={' | '.join(fitting)}"
        )
