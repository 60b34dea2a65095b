"""No latent variable: with it a sentence VAE becomes a language model."""

from __future__ import annotations

from torch.distributions import Distribution

from lvexp.distributions.delta import Delta
from lvexp.latents.base import AbstractLatent
from lvexp.shapes import Float, Shaped, Tensor


class NoLatent(AbstractLatent):
    """A code of width 0. The distortion is then the exact negative log-likelihood.

    Args:
        features: width of the encoder's features; ignored.
    """

    def __init__(self, features: int = 0):
        super().__init__()
        self.dim, self.width = None, 0

    def params(self, features: Float[Tensor, "B H"]) -> Float[Tensor, "B P"]:
        return features[:, :0]

    def posterior(self, params: Float[Tensor, "B P"]) -> Distribution:
        return Delta(params, validate_args=False)

    def prior(self, condition: Float[Tensor, "B C"] | None = None) -> None:
        return None

    def code(self, value: Shaped[Tensor, "S B *event"]) -> Float[Tensor, "S B W"]:
        return value
