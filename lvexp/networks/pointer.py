"""What speaks the words of a text again, or words of a vocabulary, and what knows how such texts go."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn

from lvexp.data.special import Special
from lvexp.networks.attention import Alignment
from lvexp.networks.base import WordDecoder, WordVectors
from lvexp.networks.speaker import NEVER
from lvexp.shapes import Bool, Float, Int, Tensor


class Given(NamedTuple):
    """What is known of a text when words of it are spoken.

    Attributes:
        summary: one vector for the text. states: one for each of its tokens. words: their ids, ``<pad>`` where there is
            nothing to point at.
        wanted: number of words that must be spoken; 0 if it is free.
    """

    summary: Float[Tensor, "N H"]
    states: Float[Tensor, "N T H"]
    words: Int[Tensor, "N T"]
    wanted: Float[Tensor, " N"]

    def packed(self) -> Float[Tensor, "N P"]:
        """As the parameters of a distribution, P = H + 1 + T (H + 1); at least 32 bits, since ids are among them."""
        parts = (self.summary, self.wanted[:, None], self.states.flatten(1), self.words)
        kind = torch.promote_types(self.states.dtype, torch.float32)
        return torch.cat([part.to(kind) for part in parts], -1)

    @classmethod
    def of(cls, params: Float[Tensor, "N P"], width: int) -> Given:
        """Of parameters that were packed; ``width`` is H."""
        count = (params.shape[-1] - width - 1) // (width + 1)
        summary, wanted, states, words = params.split([width, 1, count * width, count], -1)
        return cls(summary, states.unflatten(-1, (count, width)), words.round().long(), wanted[:, 0])


class Texts(nn.Module):
    """What all speakers of texts share: the symbols are the words of a vocabulary, and ``<eos>`` ends a text.

    Args:
        vocabulary: K, number of words. special: those that are none.
        length: L, the largest number of words. least: the smallest.
    """

    end: int | None

    def __init__(self, vocabulary: int, special: Special, length: int, least: int):
        super().__init__()
        self.size, self.sizes, self.special, self.end = vocabulary, (vocabulary,), special, special.eos
        self.length, self.least = length, least

    def closing(self, wanted: Float[Tensor, " N"], step: int) -> tuple[Bool[Tensor, " N"], Bool[Tensor, " N"]]:
        """Whether a text may end at a step, and whether it must."""
        told = wanted > 0
        done = wanted <= step
        return torch.where(told, done, torch.full_like(told, step >= self.least)), told & done

    def _never(self, logits: Float[Tensor, "N K"], may: Bool[Tensor, " N"]) -> Float[Tensor, "N K"]:
        """Logits of words that can come: neither ``<pad>`` nor ``<bos>``, and ``<eos>`` only where a text may end."""
        ids = torch.arange(self.size, device=logits.device)
        none = (ids == self.special.pad) | (ids == self.special.bos)
        return logits.masked_fill(none | ((ids == self.special.eos) & ~may[:, None]), NEVER)

    def _ended(self, log_p: Float[Tensor, "N K"], must: Bool[Tensor, " N"]) -> Float[Tensor, "N K"]:
        """log p, with the end for certain where a text must end."""
        only = torch.full_like(log_p[:1], NEVER)
        only[:, self.special.eos] = 0.0
        return torch.where(must[:, None], only, log_p)


class Pointing(NamedTuple):
    """The state of a :class:`Pointer`: the text, the keys of its states, the hidden state, how many words were said."""

    given: Given
    keys: Float[Tensor, "N T H"]
    hidden: Float[Tensor, "N H"]
    step: int


class Pointer(Texts):
    r"""Speaks words of a text by pointing at them (Vinyals et al. 2015; Miao & Blunsom 2016, eq. 2 to 5):

    .. math:: q(c_t = w | c_{<t}, s) = g_t \sum_{i: s_i = w} \alpha_{ti} + (1 - g_t)\, p_v(w | c_{<t}, s)

    with the attention α of a GRU's state over the states of the text s. It ends where it points at ``<eos>``. Without
    ``mixed`` g = 1; with it, g is the sigmoid of a score and p_v a softmax over the vocabulary (their forced-attention
    model). The GRU is told how many words are left, if their number is given.

    Args:
        width: H, of the text's states. hidden, embedding: widths of the GRU's state and of word vectors.
        mixed: whether words of the vocabulary can be said too.
        vocabulary, special, length, least: as for :class:`Texts`.
    """

    def __init__(
        self,
        vocabulary: int,
        special: Special,
        length: int,
        least: int,
        width: int,
        hidden: int,
        embedding: int,
        mixed: bool,
    ):
        super().__init__(vocabulary, special, length, least)
        self.width = width
        self.embedding = WordVectors(vocabulary, embedding)
        self.first, self.cell = nn.Linear(width, hidden), nn.GRUCell(embedding + 1, hidden)
        self.align = Alignment("dot", hidden, width)
        self.join = nn.Linear(hidden + width, hidden) if mixed else None
        if mixed:
            self.gate, self.output = nn.Linear(hidden, 1), nn.Linear(hidden, vocabulary, bias=False)

    def start(self, params: Float[Tensor, "N P"]) -> Pointing:
        given = Given.of(params, self.width)
        return Pointing(given, self.align.key(given.states), self.first(given.summary).tanh(), 0)

    def speak(self, state: Pointing) -> Float[Tensor, "N K"]:
        given, special = state.given, self.special
        may, must = self.closing(given.wanted, state.step)
        there, ends = given.words != special.pad, given.words == special.eos
        seen = there & (~ends | may[:, None])
        seen = seen | (ends & ~seen.any(1, keepdim=True))  # a text without words can only end
        weights = self.align.weights(state.hidden[None, :, None], state.keys, seen)[0, :, 0]
        p = weights.new_zeros(len(weights), self.size).scatter_add(1, given.words, weights * seen)
        if self.join is not None:
            context = (weights[:, None] @ given.states)[:, 0]
            both = self.join(torch.cat([state.hidden, context], -1)).tanh()
            share = self.gate(both).sigmoid()
            p = share * p + (1 - share) * self._never(self.output(both), may).softmax(-1)
        least = torch.finfo(p.dtype).tiny
        return self._ended(torch.where(p > least, p.clamp(min=least).log(), NEVER), must)

    def listen(self, symbol: Float[Tensor, "N K"], state: Pointing) -> Pointing:
        wanted, step = state.given.wanted, state.step + 1
        left = ((wanted - step) / self.length).clamp(min=0)[:, None]
        heard = torch.cat([self.embedding(as_words(symbol)), left.to(state.hidden)], -1)
        return state._replace(hidden=self.cell(heard, state.hidden), step=step)


class Knowing(NamedTuple):
    """The state of a :class:`Language`: log p of the next word, the decoder's state, the number of words that are
    wanted, and how many were said."""

    log_p: Float[Tensor, "N K"]
    inner: Any
    wanted: Float[Tensor, " N"]
    step: int


class Language(Texts):
    """Speaks texts as a language model does; without one, every word has the same probability at every step. Its
    parameters are the number of words that are wanted, 0 if it is free.

    Args:
        network: the language model, a decoder of codes of width 0. frozen: it stays as it is, without dropout.
        vocabulary, special, length, least: as for :class:`Texts`.
    """

    def __init__(
        self,
        vocabulary: int,
        special: Special,
        length: int,
        least: int,
        network: WordDecoder | None = None,
        frozen: bool = False,
    ):
        super().__init__(vocabulary, special, length, least)
        self.network, self.frozen = network, frozen
        if frozen:
            self.requires_grad_(False)

    def train(self, mode: bool = True) -> Language:
        return super().train(mode and not self.frozen)

    def start(self, params: Float[Tensor, "N 1"]) -> Knowing:
        wanted = params[:, 0]
        if self.network is None:
            return Knowing(params.new_zeros(len(params), self.size), None, wanted, 0)
        first = torch.full((len(params),), self.special.bos, device=params.device)
        log_p, inner = self.network.step(first, self.network.start(params[:, :0]))
        return Knowing(log_p, inner, wanted, 0)

    def speak(self, state: Knowing) -> Float[Tensor, "N K"]:
        may, must = self.closing(state.wanted, state.step)
        return self._ended(self._never(state.log_p, may).log_softmax(-1), must)

    def listen(self, symbol: Float[Tensor, "N K"], state: Knowing) -> Knowing:
        if self.network is None:
            return state._replace(step=state.step + 1)
        log_p, inner = self.network.step(as_words(symbol), state.inner)
        return Knowing(log_p, inner, state.wanted, state.step + 1)


def as_words(symbols: Float[Tensor, "*N K"]) -> Int[Tensor, "*N"] | Float[Tensor, "*N K"]:
    """Symbols for a network that reads words: ids, or mixtures if they carry a gradient. Without one a symbol is
    one-hot, and looking its vector up saves a product with the whole vocabulary."""
    return symbols if symbols.requires_grad else symbols.argmax(-1)
