"""Base classes of encoders and decoders."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from lvexp.networks.tail import scored
from lvexp.reading import Memory
from lvexp.shapes import Float, Int, Tensor

#: texts as token ids, as distributions over the vocabulary, or as the vectors of words themselves
Words = Int[Tensor, "B T"] | Float[Tensor, "B T V"] | Float[Tensor, "B T E"]
#: name → memory that a decoder may read in addition to the code
Memories = Mapping[str, Memory]
NOTHING: Memories = {}


class AbstractEncoder(nn.Module, abc.ABC):
    """Reads a text and returns features. A text consists of token ids or, if it is relaxed, of one distribution over
    the vocabulary for each token; its word vectors are then the expected ones (:class:`WordVectors`).

    Attributes:
        width: H, size of the features.
    """

    width: int

    @abc.abstractmethod
    def forward(self, tokens: Words, lengths: Int[Tensor, " B"]) -> Float[Tensor, "B H"]: ...


class StateEncoder(AbstractEncoder):
    """An encoder with a state for each token. Its features are a summary of them."""

    @abc.abstractmethod
    def states(self, tokens: Words, lengths: Int[Tensor, " B"]) -> Float[Tensor, "B T H"]:
        """The states; those at padding are meaningless."""

    @abc.abstractmethod
    def summary(self, states: Float[Tensor, "B T H"], lengths: Int[Tensor, " B"]) -> Float[Tensor, "B H"]:
        """One vector for each text, computed from its states."""

    def forward(self, tokens: Words, lengths: Int[Tensor, " B"]) -> Float[Tensor, "B H"]:
        return self.summary(self.states(tokens, lengths), lengths)


class AbstractDecoder(nn.Module, abc.ABC):
    """Scores a text given a code, and writes texts from left to right."""

    @abc.abstractmethod
    def forward(
        self,
        inputs: Int[Tensor, "B T_1"],
        targets: Int[Tensor, "B T_1"],
        lengths: Int[Tensor, " B"],
        code: Float[Tensor, "S B W"],
        memories: Memories = NOTHING,
    ) -> Float[Tensor, "S B"]:
        """log p(x|z), nats per text, for every draw.

        Args:
            inputs: the tokens that the decoder reads, ``<bos> w1 … wn``.
            targets: the tokens that it must predict, ``w1 … wn <eos>``.
            lengths: number of tokens of each text, including ``<bos>`` and ``<eos>``; later positions never count.
            code: the code of each draw.
            memories: what the decoder may attend to; a decoder without attention ignores them.
        """

    def attended(
        self, inputs: Int[Tensor, "B T_1"], code: Float[Tensor, "S B W"], memories: Memories
    ) -> Float[Tensor, "S B T_1 L"] | None:
        """The weights with which each position attends to the source, which sum to 1; None without attention."""
        return None

    @abc.abstractmethod
    def start(self, code: Float[Tensor, "N W"], memories: Memories = NOTHING) -> Any:
        """The state before the first token. Every tensor in it has N as the first dimension."""

    @abc.abstractmethod
    def step(self, tokens: Int[Tensor, " N"] | Float[Tensor, "N V"], state: Any) -> tuple[Float[Tensor, "N V"], Any]:
        """log p of the next token after reading ``tokens``, and the state after them. A decoder that accepts relaxed
        words too, [N, V], declares it (``provides: [relaxable]``)."""


class WordDecoder(AbstractDecoder):
    """A decoder whose states pass through dropout and an output layer over the vocabulary.

    Attributes:
        drop_out: dropout of the states. output: the output layer.
    """

    drop_out: nn.Module
    output: nn.Linear

    @abc.abstractmethod
    def states(
        self, inputs: Words, code: Float[Tensor, "S B W"], memories: Memories = NOTHING
    ) -> Float[Tensor, "S B T H"]:
        """The input of the output layer at each position, before dropout."""

    def forward(
        self,
        inputs: Int[Tensor, "B T_1"],
        targets: Int[Tensor, "B T_1"],
        lengths: Int[Tensor, " B"],
        code: Float[Tensor, "S B W"],
        memories: Memories = NOTHING,
    ) -> Float[Tensor, "S B"]:
        states, weight = self.drop_out(self.states(inputs, code, memories)), self.output.weight
        if self.output.bias is not None:  # the weight of an entry that is always 1
            states, weight = F.pad(states, (0, 1), value=1.0), torch.cat([weight, self.output.bias[:, None]], 1)
        return scored(states, weight, targets, lengths)


class WordVectors(nn.Embedding):
    """A vector for each word, initialised from U(-0.1, 0.1) as in He et al. 2019 and most language models; for a
    distribution over words, the expected vector. What is as wide as a vector, and not as the vocabulary, is one
    already."""

    def __init__(self, vocabulary: int, width: int):
        super().__init__(vocabulary, width)
        nn.init.uniform_(self.weight, -0.1, 0.1)

    def forward(self, words: Int[Tensor, "*N"] | Float[Tensor, "*N V"]) -> Float[Tensor, "*N E"]:  # pyright: ignore
        if words.is_floating_point() and words.shape[-1] == self.embedding_dim != self.num_embeddings:
            return words
        return words @ self.weight if words.is_floating_point() else super().forward(words)
