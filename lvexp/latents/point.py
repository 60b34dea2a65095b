"""A point: the code of a plain auto-encoder."""

from __future__ import annotations

from torch import nn
from torch.distributions import Distribution

from lvexp.distributions.delta import Delta
from lvexp.latents.base import AbstractLatent
from lvexp.shapes import Float, Shaped, Tensor


class Point(AbstractLatent):
    """z = f(x), deterministic. There is no prior, hence no rate, no bound on the likelihood and no perplexity.

    Args:
        features: H, width of the encoder's features.
        dim: W, dimensions of z.
    """

    def __init__(self, features: int, dim: int = 32):
        super().__init__()
        self.dim = self.width = dim
        self.linear = nn.Linear(features, dim, bias=False)

    def params(self, features: Float[Tensor, "B H"]) -> Float[Tensor, "B P"]:
        return self.linear(features)

    def posterior(self, params: Float[Tensor, "B P"]) -> Distribution:
        return Delta(params, validate_args=False)

    def prior(self, condition: Float[Tensor, "B C"] | None = None) -> None:
        return None

    def code(self, value: Shaped[Tensor, "S B *event"]) -> Float[Tensor, "S B W"]:
        return value
