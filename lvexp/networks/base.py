"""What encoders and decoders are."""

from __future__ import annotations

import abc
from typing import Any

from torch import nn

from lvexp.networks.output import text_log_p
from lvexp.shapes import Float, Int, Tensor


class AbstractEncoder(nn.Module, abc.ABC):
    """Reads a text, returns features.

    Attributes:
        width: H, size of the features.
    """

    width: int

    @abc.abstractmethod
    def forward(self, tokens: Int[Tensor, "B T"], lengths: Int[Tensor, " B"]) -> Float[Tensor, "B H"]: ...


class StateEncoder(AbstractEncoder):
    """An encoder with a state for each token. Its features are a summary of them."""

    @abc.abstractmethod
    def states(self, tokens: Int[Tensor, "B T"], lengths: Int[Tensor, " B"]) -> Float[Tensor, "B T H"]:
        """The states; those of padding mean nothing."""

    @abc.abstractmethod
    def summary(self, states: Float[Tensor, "B T H"], lengths: Int[Tensor, " B"]) -> Float[Tensor, "B H"]:
        """One vector for a text, from its states."""

    def forward(self, tokens: Int[Tensor, "B T"], lengths: Int[Tensor, " B"]) -> Float[Tensor, "B H"]:
        return self.summary(self.states(tokens, lengths), lengths)


class AbstractDecoder(nn.Module, abc.ABC):
    """Scores a text given a code, and writes one from left to right."""

    @abc.abstractmethod
    def forward(
        self,
        inputs: Int[Tensor, "B T_1"],
        targets: Int[Tensor, "B T_1"],
        lengths: Int[Tensor, " B"],
        code: Float[Tensor, "S B W"],
    ) -> Float[Tensor, "S B"]:
        """log p(x|z), nats per text, of every draw.

        Args:
            inputs: what the decoder reads, ``<bos> w1 … wn``.
            targets: what it must predict, ``w1 … wn <eos>``.
            lengths: tokens of each text with ``<bos>`` and ``<eos>``; later positions never count.
            code: the code of each draw.
        """

    @abc.abstractmethod
    def start(self, code: Float[Tensor, "N W"]) -> Any:
        """The state before the first token. Every tensor in it has N as the first dimension."""

    @abc.abstractmethod
    def step(self, tokens: Int[Tensor, " N"], state: Any) -> tuple[Float[Tensor, "N V"], Any]:
        """log p of the next token after reading ``tokens``, and the state after them."""


class WordDecoder(AbstractDecoder):
    """A decoder whose states pass through dropout and an output layer over the vocabulary.

    Attributes:
        drop_out: dropout of the states. output: the layer.
    """

    drop_out: nn.Module
    output: nn.Linear

    @abc.abstractmethod
    def states(self, inputs: Int[Tensor, "B T"], code: Float[Tensor, "S B W"]) -> Float[Tensor, "S B T H"]:
        """What the output layer reads at each position, before dropout."""

    def forward(
        self,
        inputs: Int[Tensor, "B T_1"],
        targets: Int[Tensor, "B T_1"],
        lengths: Int[Tensor, " B"],
        code: Float[Tensor, "S B W"],
    ) -> Float[Tensor, "S B"]:
        return text_log_p(self.drop_out(self.states(inputs, code)), self.output.weight, targets, lengths)


def word_vectors(vocabulary: int, width: int) -> nn.Embedding:
    """Word vectors from U(-0.1, 0.1), as He et al. 2019 and most language models."""
    table = nn.Embedding(vocabulary, width)
    nn.init.uniform_(table.weight, -0.1, 0.1)
    return table
