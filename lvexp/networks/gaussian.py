"""A decoder of feature vectors."""

from __future__ import annotations

import itertools
import math

import torch
from torch import nn

from lvexp.shapes import Float, Tensor


class GaussianDecoder(nn.Module):
    r"""p(x|z) = N(x; f(z), σ² I), where f is a perceptron with tanh after each hidden layer.

    Args:
        vocabulary: F, width of the vectors.
        code: W, width of the code.
        hidden: width of the hidden layers. layers: their number.
        sigma: σ, or its value at the start. learned: whether σ is learned.
    """

    def __init__(
        self, vocabulary: int, code: int, hidden: int = 64, layers: int = 2, sigma: float = 0.1, learned: bool = True
    ):
        super().__init__()
        widths = itertools.pairwise([code, *[hidden] * layers])
        inner = [part for pair in widths for part in (nn.Linear(*pair), nn.Tanh())]
        self.mean = nn.Sequential(*inner, nn.Linear(hidden, vocabulary))
        self.log_sigma = nn.Parameter(torch.tensor(math.log(sigma)), requires_grad=learned)

    @property
    def sigma(self) -> float:
        """σ."""
        return float(self.log_sigma.detach().exp())

    def log_density(self, x: Float[Tensor, "... F"], mean: Float[Tensor, "... F"]) -> Float[Tensor, " ..."]:
        """log N(x; mean, σ² I), nats; the two are broadcast."""
        squared = ((x - mean) ** 2).sum(-1)
        constant = x.shape[-1] * (self.log_sigma + 0.5 * math.log(2 * math.pi))
        return -0.5 * squared * (-2 * self.log_sigma).exp() - constant

    def forward(self, x: Float[Tensor, "B F"], code: Float[Tensor, "S B W"]) -> Float[Tensor, "S B"]:
        """log p(x|z), nats per point, for every draw."""
        return self.log_density(x, self.mean(code))
