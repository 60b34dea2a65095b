"""A sequence of discrete symbols."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from lvexp.errors import ConfigError
from lvexp.latents.sequence import AbstractSequence
from lvexp.networks.speaker import Listener, Speaker, Uniform
from lvexp.shapes import Float, Shaped, Tensor

PRIORS = ("uniform", "learned")


class Symbols(AbstractSequence):
    r"""z = z_1 … z_n, n ≤ L, symbols of a vocabulary of M and one that ends the sequence: :math:`q(z|x) = \prod_t
    q(z_t | z_{<t}, x)` by a GRU that starts from the features (Havrylov & Titov 2017; Miao & Blunsom 2016).

    The code is the last state of another GRU, which reads the symbols. The rate is estimated from draws, but exact at
    each step given the symbols before it (:meth:`~lvexp.distributions.sequences.Sequences.divergence`). Parameters
    P = H: the first state.

    Args:
        features: width of the encoder's features.
        dim: L, the largest number of symbols. least: the smallest.
        categories: M. fixed: every sequence has L symbols, and none ends one.
        hidden: H, width of both GRUs' states, and of the code. embedding: width of a symbol's vector.
        prior: "uniform" over symbols and end at each step, or "learned": a GRU without any input but the symbols.
    """

    speaker: Speaker  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(
        self,
        features: int,
        dim: int = 4,
        categories: int = 16,
        least: int = 0,
        fixed: bool = False,
        hidden: int = 64,
        embedding: int = 32,
        prior: str = "uniform",
    ):
        super().__init__()
        if prior not in PRIORS:
            raise ConfigError(f"latent.prior={prior}: it is one of {', '.join(PRIORS)}")
        if least > dim:
            raise ConfigError(
                f"latent.least={least}: a sequence has at most latent.dim={dim} symbols\ntry  latent.least={dim}"
            )
        self.dim, self.width = dim, hidden
        self.linear = nn.Linear(features, hidden)
        self.speaker = Speaker(categories, dim, hidden, embedding, least, fixed)
        self.listener = Listener(self.speaker.size, self.speaker.end, hidden, embedding)
        if prior == "learned":
            self.before = Speaker(categories, dim, hidden, embedding, least, fixed)
            self.nothing = nn.Parameter(torch.zeros(hidden))
        else:
            self.before = Uniform(categories, dim, least, fixed)
            self.register_buffer("nothing", torch.zeros(0), persistent=False)

    def inference_parameters(self) -> Iterable[nn.Parameter]:
        return [*self.linear.parameters(), *self.speaker.parameters()]

    def params(self, features: Float[Tensor, "B H"]) -> Float[Tensor, "B P"]:
        return self.linear(features).tanh()

    def code(self, value: Shaped[Tensor, "S B L K"]) -> Float[Tensor, "S B W"]:
        return self.listener(value)
