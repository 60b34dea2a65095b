"""A convolutional encoder, often used as a classifier."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from lvexp.errors import ConfigError
from lvexp.networks.base import AbstractEncoder, Words, WordVectors
from lvexp.shapes import Float, Int, Tensor


class ConvolutionalEncoder(AbstractEncoder):
    r"""Convolutions over the word vectors, each maximised over the positions of the text (Kim 2014), then a layer:

    .. math:: h = \tanh(W\,[\max_t \mathrm{ReLU}(\mathrm{conv}_k(x)_t)]_k)

    A window begins at each word and may extend beyond the end of the text, where the word vectors are 0: padding
    changes nothing, and a text may be shorter than a window.

    Args:
        vocabulary: V.
        embedding: width of the word vectors.
        kernels: the numbers of words in a window.
        channels: number of convolutions of each kernel.
        hidden: H, width of the features.
        dropout: share of the maxima set to 0 in training.
    """

    def __init__(
        self,
        vocabulary: int,
        embedding: int = 128,
        kernels: Sequence[int] = (3, 4, 5),
        channels: int = 100,
        hidden: int = 256,
        dropout: float = 0.5,
    ):
        super().__init__()
        if not kernels or any(not isinstance(kernel, int) or kernel < 1 for kernel in kernels):
            raise ConfigError(f"encoder.kernels={list(kernels)}: it is a list of whole numbers from 1 upwards")
        self.width, self.kernels = hidden, tuple(kernels)
        self.embedding = WordVectors(vocabulary, embedding)
        self.convolve = nn.ModuleList(nn.Conv1d(embedding, channels, kernel) for kernel in kernels)
        self.drop = nn.Dropout(dropout)
        self.layer = nn.Linear(channels * len(self.kernels), hidden)

    def forward(self, tokens: Words, lengths: Int[Tensor, " B"]) -> Float[Tensor, "B H"]:
        within = torch.arange(tokens.shape[1], device=lengths.device) < lengths[:, None]
        words = (self.embedding(tokens) * within[..., None]).transpose(1, 2)
        maxima = [
            # after ReLU, 0 is below every value that counts
            (F.relu(convolve(F.pad(words, (0, kernel - 1)))) * within[:, None]).amax(-1)
            for kernel, convolve in zip(self.kernels, self.convolve, strict=True)
        ]
        return self.layer(self.drop(torch.cat(maxima, -1))).tanh()
