"""An encoder of feature vectors; of texts, it reads each word by itself."""

from __future__ import annotations

import itertools

import torch
from torch import nn

from lvexp.networks.base import StateEncoder, Words, WordVectors
from lvexp.networks.dropout import Dropout
from lvexp.shapes import Float, Int, Tensor


class PerceptronEncoder(StateEncoder):
    """A perceptron that reads each vector by itself, h = tanh(W_L … tanh(W_1 v)); the summary of a source is the mean
    of its states. The first layer embeds: for a feature vector it is a matrix product, for a word a look-up.

    Args:
        vocabulary: F, width of the feature vectors; for texts V.
        embedding: width of the first layer. hidden: H, width of the states.
        layers: number of layers after the first.
        dropout: share of the first layer's outputs set to 0 in training.
    """

    def __init__(self, vocabulary: int, embedding: int = 256, hidden: int = 256, layers: int = 1, dropout: float = 0.0):
        super().__init__()
        self.width = hidden
        self.embedding, self.drop = WordVectors(vocabulary, embedding), Dropout(dropout)
        widths = [embedding, *[hidden] * layers]
        steps = [(nn.Tanh(), nn.Linear(*pair)) for pair in itertools.pairwise(widths)]
        self.layers = nn.Sequential(*[part for step in steps for part in step], nn.Tanh())

    def states(self, tokens: Words, lengths: Int[Tensor, " B"]) -> Float[Tensor, "B T H"]:
        return self.layers(self.drop(self.embedding(tokens)))

    def summary(self, states: Float[Tensor, "B T H"], lengths: Int[Tensor, " B"]) -> Float[Tensor, "B H"]:
        own = torch.arange(states.shape[1], device=lengths.device) < lengths[:, None]
        return (states * own[..., None]).sum(1) / lengths[:, None]
