"""A decoder that sees only the last few words."""

from __future__ import annotations

import torch
from torch import nn

from lvexp.data.special import SPECIAL, Special
from lvexp.errors import ConfigError
from lvexp.networks.base import NOTHING, Memories, WordDecoder, Words, WordVectors
from lvexp.networks.dropout import Dropout
from lvexp.shapes import Float, Int, Tensor


class WindowDecoder(WordDecoder):
    r"""p(x|z) = Π_t p(x_t | x_{t-n..t-1}, z), a neural n-gram model (Bengio et al. 2003, section 2) that also reads z.

    .. math:: p(x_t | \cdot) = \mathrm{softmax}(U \tanh(d + H [e_{t-n}; \ldots; e_{t-1}; z]))

    with the vectors e of the last n words; a text is preceded by n times ``<bos>``. The shorter the window, the more
    information about a text z must carry. With n = 0 the decoder reads no words at all: all words of a text then come
    from the same distribution, p(w|z). There are no direct connections from word vectors to output (W = 0 in the
    paper).

    Args:
        vocabulary: V.
        code: W, width of the code; 0 makes a language model.
        window: n, number of words; ``<bos>`` counts as one.
        embedding: width of the word vectors.
        hidden: width of the hidden layer.
        dropout_in: share of the word vectors' entries set to 0 in training, the same for all draws.
        dropout_out: share of the hidden layer's entries set to 0 in training.
        special: tokens of the vocabulary.
    """

    def __init__(
        self,
        vocabulary: int,
        code: int,
        window: int = 2,
        embedding: int = 256,
        hidden: int = 256,
        dropout_in: float = 0.5,
        dropout_out: float = 0.5,
        special: Special = SPECIAL,
    ):
        super().__init__()
        if window < 0:
            raise ConfigError(f"decoder.window={window}: a number of words, at least 0\ntry  decoder.window=2")
        if not window and not code:
            raise ConfigError("decoder.window=0 without z: nothing to predict from\ntry  decoder.window=2 | model=svae")
        self.window, self.bos = window, special.bos
        self.embedding = WordVectors(vocabulary, embedding)
        # H in two parts: the words' part is computed once for all draws of z
        self.words = nn.Linear(window * embedding, hidden, bias=False) if window else None
        self.code = nn.Linear(code, hidden, bias=False) if code else None
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.drop_in, self.drop_out = Dropout(dropout_in), Dropout(dropout_out)
        self.output = nn.Linear(hidden, vocabulary, bias=False)

    def states(
        self, inputs: Words, code: Float[Tensor, "S B W"], memories: Memories = NOTHING
    ) -> Float[Tensor, "S B T H"]:
        padded = torch.cat([inputs.new_full((len(inputs), self.window), self.bos), inputs], 1)
        return self._hidden(padded.unfold(1, self.window, 1)[:, 1:], code[:, :, None])

    def _hidden(self, recent: Int[Tensor, "*B T n"], code: Float[Tensor, "*S 1 W"]) -> Float[Tensor, "*S T H"]:
        """The hidden layer at each position, given the last words; the code may have an extra dimension of draws."""
        total = self.bias.expand(*code.shape[:-2], recent.shape[-2], -1)
        if self.words is not None:
            total = total + self.words(self.drop_in(self.embedding(recent)).flatten(-2))
        if self.code is not None:
            total = total + self.code(code)
        return total.tanh()

    def start(self, code: Float[Tensor, "N W"], memories: Memories = NOTHING):
        return code, torch.full((len(code), self.window), self.bos, device=code.device)

    def step(self, tokens: Int[Tensor, " N"], state):
        code, recent = state
        recent = torch.cat([recent, tokens[:, None]], 1)[:, 1:]
        hidden = self._hidden(recent[:, None], code[:, None])[:, 0]
        return self.output(self.drop_out(hidden)).log_softmax(-1), (code, recent)

    def extra_repr(self) -> str:
        return f"window={self.window}"
