"""What every latent variable is: a posterior made from features, a prior, and the code the decoder reads."""

from __future__ import annotations

import abc
import math
from collections.abc import Iterable

from torch import nn
from torch.distributions import Distribution

from lvexp.shapes import Float, Int, Shaped, Tensor


class AbstractLatent(nn.Module, abc.ABC):
    """A pair of distributions, q(z|x) and p(z), built lazily as :mod:`torch.distributions` objects.

    Attributes:
        width: W, size of the code the decoder reads.
        dim: D, dimensions over which the rate splits; None where there is no latent variable.
        values: of a discrete z, how many values each of its variables has; empty where nothing of z is discrete.
    """

    width: int
    dim: int | None
    values: tuple[int, ...] = ()

    @property
    def continuous(self) -> bool:
        """Whether something of z is continuous."""
        return self.dim is not None and len(self.values) < self.dim

    @property
    def configurations(self) -> int | None:
        """How many values z has; None where they are no finite set."""
        return math.prod(self.values) if self.values and not self.continuous else None

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

    def point(self, q: Distribution) -> Shaped[Tensor, "B ..."]:
        """The value that stands for q where one is wanted: its mean, or its mode where z is discrete."""
        return q.mean

    def between(self, start: Shaped[Tensor, ...], end: Shaped[Tensor, ...], share: float) -> Shaped[Tensor, ...]:
        """The value at ``share`` of the line from one to another; of a discrete variable, the first."""
        return start if self.values else start.lerp(end, share)

    def means(self, q: Distribution) -> Float[Tensor, "B D"] | None:
        """The means of what is continuous in z, for active units and pictures; None where nothing is."""
        return q.mean.flatten(1)

    def marginals(self, q: Distribution) -> Float[Tensor, "B N K"] | None:
        """q(z_n = k|x) of each discrete variable, 0 for values it does not have; None where nothing is discrete."""
        return None


class AbstractClassLatent(AbstractLatent, abc.ABC):
    """A latent variable, or one that holds a variable, that may stand for the class of a text."""

    @property
    @abc.abstractmethod
    def classes(self) -> tuple[str, int]:
        """The option that says how many classes there are, as it is typed, and K, how many."""

    @abc.abstractmethod
    def class_logits(self, params: Float[Tensor, "B P"]) -> Float[Tensor, "B K"]:
        """log q(c|x), up to a constant of the text."""

    @abc.abstractmethod
    def observe(self, params: Float[Tensor, "B P"], labels: Int[Tensor, " B"]) -> Float[Tensor, "B P"]:
        """The parameters, with q(c|x) a point at the label where there is one (labels ≥ 0)."""
