"""What every latent variable is: a posterior made from features, a prior, and the code the decoder reads."""

from __future__ import annotations

import abc
from collections.abc import Iterable

from torch import nn
from torch.distributions import Distribution

from lvexp.shapes import Float, Shaped, Tensor


class AbstractLatent(nn.Module, abc.ABC):
    """A pair of distributions, q(z|x) and p(z), built lazily as :mod:`torch.distributions` objects.

    Attributes:
        width: W, size of the code the decoder reads.
        dim: D, dimensions over which the rate splits; None where there is no latent variable.
    """

    width: int
    dim: int | None

    @property
    def has_prior(self) -> bool:
        """Whether there is a prior, and so a rate, whatever it may be conditioned on."""
        return self.prior() is not None

    def inference_parameters(self) -> Iterable[nn.Parameter]:
        """The parameters of q(z|x); all others are the prior's."""
        return self.parameters()

    @abc.abstractmethod
    def params(self, features: Float[Tensor, "B H"]) -> Float[Tensor, "B P"]:
        """The posterior's parameters from the encoder's features."""

    @abc.abstractmethod
    def posterior(self, params: Float[Tensor, "B P"]) -> Distribution:
        """q(z|x), batch shape [B]."""

    @abc.abstractmethod
    def prior(self, condition: Float[Tensor, "B C"] | None = None) -> Distribution | None:
        """p(z), or p(z|condition); batch shape [] or [B]. None where the model has no prior, and so no rate."""

    @abc.abstractmethod
    def code(self, value: Shaped[Tensor, "S B *event"]) -> Float[Tensor, "S B W"]:
        """What the decoder reads for a draw of z."""
