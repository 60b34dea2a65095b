"""The base class of latent variables: a posterior computed from features, a prior, and the code the decoder reads."""

from __future__ import annotations

import abc
import math
from collections.abc import Iterable

import torch
from torch import nn
from torch.distributions import Distribution
from torch.nn import functional as F

from lvexp.errors import ConfigError
from lvexp.priors.base import AbstractPrior
from lvexp.shapes import Float, Int, Shaped, Tensor


class AbstractLatent(nn.Module, abc.ABC):
    """A pair of distributions, q(z|x) and p(z), built lazily as :mod:`torch.distributions` objects.

    Attributes:
        width: W, size of the code the decoder reads.
        dim: D, dimensions over which the rate splits; None if there is no latent variable.
        values: number of values of each discrete variable in z; empty if no part of z is discrete.
        units: whether dimensions can be counted as active: their posterior means are known, and the prior has a
            variance near 1 in each, for which the usual threshold is meant.
        flat: whether every vector is a value of z: it is neither a direction nor proportions.
        compared: largest number of texts for which q(z|x) of each can be evaluated at draws of all others in a short
            time; None for no limit.
    """

    width: int
    dim: int | None
    values: tuple[int, ...] = ()
    units: bool = True
    flat: bool = True
    compared: int | None = None

    @property
    def continuous(self) -> bool:
        """Whether any part of z is continuous."""
        return self.dim is not None and len(self.values) < self.dim

    @property
    def configurations(self) -> int | None:
        """Number of values of z; None if it is not finite."""
        return math.prod(self.values) if self.values and not self.continuous else None

    @property
    def has_prior(self) -> bool:
        """Whether there is a prior, conditional or not, and hence a rate."""
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
        """p(z), or p(z|condition); batch shape [] or [B]. None if the model has no prior, and hence no rate."""

    def give(self, prior: AbstractPrior) -> None:
        """Replaces the prior, once, when the model is built.

        Raises:
            ConfigError: the latent variable has a prior of its own.
        """
        raise ConfigError(f"prior=…: {type(self).__name__} has a prior of its own\ntry  prior=standard")

    @abc.abstractmethod
    def code(self, value: Shaped[Tensor, "S B *event"]) -> Float[Tensor, "S B W"]:
        """What the decoder reads for a draw of z."""

    def point(self, q: Distribution) -> Shaped[Tensor, "B ..."]:
        """A single value that represents q: its mean, or its mode if z is discrete."""
        return q.mean

    def between(self, start: Shaped[Tensor, ...], end: Shaped[Tensor, ...], share: float) -> Shaped[Tensor, ...]:
        """The value at ``share`` of the line from one to another; of a discrete variable, the first."""
        return start if self.values else self.onto(start.lerp(end, share))

    def near(self, value: Float[Tensor, "N D"], size: float) -> Float[Tensor, "N D"]:
        """The values plus Gaussian noise with the standard deviation ``size``."""
        return self.onto(value + size * torch.randn_like(value))

    def onto(self, vector: Float[Tensor, "*N D"]) -> Float[Tensor, "*N D"]:
        """The value of z that a vector stands for, which it is itself where z is :attr:`flat`."""
        return vector

    def moved(self, value: Shaped[Tensor, "*event"], index: int, to: float) -> Shaped[Tensor, "*event"]:
        """A value with dimension, or variable, ``index`` at ``to``."""
        value = value.clone()
        value[index] = F.one_hot(torch.tensor(int(to)), value.shape[-1]).to(value) if value.ndim > 1 else to
        return value

    def span(self, index: int, values: Float[Tensor, "N D"]) -> tuple[float, float]:
        """Where a dimension lies, given values of many texts: three standard deviations about their mean, and as many
        of a prior with a variance near 1."""
        middle, half = float(values[:, index].mean()), 3 * float(values[:, index].std())
        return (min(-3.0, middle - half), max(3.0, middle + half)) if self.units else (middle - half, middle + half)

    def means(self, q: Distribution) -> Float[Tensor, "B D"] | None:
        """The means of the continuous part of z, for active units and figures; None if there is none, or if they are
        not known."""
        return q.mean.flatten(1)

    def marginals(self, q: Distribution) -> Float[Tensor, "B N K"] | None:
        """q(z_n = k|x) of each discrete variable, 0 for values it does not have; None if no part of z is discrete."""
        return None


class AbstractLinear(AbstractLatent, abc.ABC):
    """A latent variable whose q(z|x) is read off a linear map of the features.

    Attributes:
        linear: that map, which a subclass makes.
    """

    linear: nn.Linear

    def inference_parameters(self) -> Iterable[nn.Parameter]:
        return self.linear.parameters()

    def params(self, features: Float[Tensor, "B H"]) -> Float[Tensor, "B P"]:
        return self.linear(features)


class AbstractClassLatent(AbstractLatent, abc.ABC):
    """A latent variable that is, or contains, variables that can represent classes of a text, c_1 … c_A."""

    @property
    @abc.abstractmethod
    def classes(self) -> list[tuple[str, int]]:
        """For each c: the option that sets its number of classes, as it is typed, and that number, K."""

    @abc.abstractmethod
    def class_logits(self, params: Float[Tensor, "B P"]) -> list[Float[Tensor, "B _"]]:
        """log q(c|x) of each c, up to a constant for each text."""

    @abc.abstractmethod
    def observe(self, params: Float[Tensor, "B P"], classes: Int[Tensor, "B A"]) -> Float[Tensor, "B P"]:
        """The parameters, with q(c|x) a point mass on the class where it is known (classes ≥ 0)."""

    @abc.abstractmethod
    def fixed(self, value: Shaped[Tensor, "*B E"], classes: Int[Tensor, "*B A"]) -> Shaped[Tensor, "*B E"]:
        """The values, with each c set to its class where one is given (classes ≥ 0)."""
