"""Networks over bags of words: an encoder of counts, and a decoder into a distribution over words."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import nn

from lvexp.data.special import SPECIAL, Special
from lvexp.errors import ConfigError
from lvexp.networks.base import AbstractEncoder, Words
from lvexp.networks.standardise import Standardise
from lvexp.shapes import Float, Int, Tensor

ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU, "softplus": nn.Softplus}
READS = {
    "counts": lambda counts: counts,
    "log": torch.log1p,
    "share": lambda counts: counts / counts.sum(-1, keepdim=True).clamp(min=1),
}


class BowEncoder(AbstractEncoder):
    """A multi-layer perceptron over the counts of a text's words (Miao et al. 2016).

    If a text is given as tokens, their counts are read. Special tokens other than ``<unk>`` are not counted.

    Args:
        vocabulary: V. hidden: H. layers: their number. activation: tanh, relu or softplus, after each layer.
        dropout: of the last layer's outputs.
        reads: ``counts``, ``log`` (log of 1 + count) or ``share`` (count as a share of the text's words).
        special: tokens of the vocabulary.
    """

    def __init__(
        self,
        vocabulary: int,
        hidden: int = 500,
        layers: int = 1,
        activation: str = "tanh",
        dropout: float = 0.0,
        reads: str = "counts",
        special: Special = SPECIAL,
    ):
        super().__init__()
        self.silent = special.silent
        self.vocabulary, self.width, self.reads = vocabulary, hidden, _chosen("encoder.reads", reads, READS)
        nonlinear = _chosen("encoder.activation", activation, ACTIVATIONS)
        widths = [vocabulary, *[hidden] * layers]
        stack = [part for a, b in itertools.pairwise(widths) for part in (nn.Linear(a, b), nonlinear())]
        self.stack = nn.Sequential(*stack, nn.Dropout(dropout))

    def forward(self, tokens: Words, lengths: Int[Tensor, " B"]) -> Float[Tensor, "B H"]:
        if tokens.is_floating_point():
            within = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
            counts = (tokens * within[..., None]).sum(1)
        else:
            counts = torch.zeros(len(tokens), self.vocabulary, device=tokens.device)
            counts.scatter_add_(1, tokens, torch.ones_like(tokens, dtype=counts.dtype))
        words = torch.ones_like(counts[0])
        words[list(self.silent)] = 0
        return self.read(counts * words)

    def read(self, counts: Float[Tensor, "B V"]) -> Float[Tensor, "B H"]:
        """The features of texts given as bags of words."""
        return self.stack(self.reads(counts))


class BowDecoder(nn.Module):
    r"""Words drawn independently from one distribution, given z.

    .. math:: \log p(x|z) = \sum_v n_v \log \pi_v(z)

    With the code c, :math:`\pi` is either :math:`\mathrm{softmax}(W c + b)` (``mixture=logits``: NVDM, Miao et al.
    2016; a product of experts if c holds proportions: ProdLDA, Srivastava & Sutton 2017) or
    :math:`\sum_k c_k\,\mathrm{softmax}(W_k)` (``mixture=words``, the mixture of LDA, for proportions only).

    Args:
        vocabulary: V. code: W, size of the code, which has one entry for each topic.
        mixture: ``logits`` or ``words``.
        batch_norm: standardise the logits, over the batch (over the topics with ``mixture=words``), with a learned
            shift and no scale, as in the released code of ProdLDA.
        dropout: of the code.
    """

    def __init__(
        self, vocabulary: int, code: int, mixture: str = "logits", batch_norm: bool = False, dropout: float = 0.0
    ):
        super().__init__()
        self.mixed = _chosen("decoder.mixture", mixture, {"logits": False, "words": True})
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(code, vocabulary)))
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.norm = Standardise(vocabulary) if batch_norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)

    def forward(self, counts: Float[Tensor, "B V"], code: Float[Tensor, "S B W"]) -> Float[Tensor, "S B"]:
        """log p(x|z) for every draw, nats per text, without the multinomial coefficient."""
        code = self.dropout(code)
        if self.mixed:
            return torch.einsum("sbv,bv->sb", (code @ self.topics()).clamp(min=1e-20).log(), counts)
        draws, texts = code.shape[:2]
        logits = (self.norm((code @ self.weight).flatten(0, 1)) + self.bias).unflatten(0, (draws, texts))
        return torch.einsum("sbv,bv->sb", logits, counts) - counts.sum(-1) * logits.logsumexp(-1)

    def words(self, code: Float[Tensor, "N W"]) -> Float[Tensor, "N V"]:
        """log π(z) for each code."""
        if self.mixed:
            return (code @ self.topics()).clamp(min=1e-20).log()
        return (self.norm(code @ self.weight) + self.bias).log_softmax(-1)

    def topics(self) -> Float[Tensor, "W V"]:
        """Each entry's weight for every word: a row of W or, with ``mixture=words``, the topic's distribution."""
        return (self.norm(self.weight) + self.bias).softmax(-1) if self.mixed else self.weight


def _chosen(key: str, value: str, options: dict[str, Any]) -> Any:
    if value not in options:
        raise ConfigError(f"{key}={value}: it is one of {', '.join(options)}")
    return options[value]
