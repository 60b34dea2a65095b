"""The base class of latent variables that are sequences of discrete symbols."""

from __future__ import annotations

import abc
from typing import ClassVar

from torch.distributions import Distribution

from lvexp.distributions.sequences import MOST, Policy, Sequences, count
from lvexp.latents.base import AbstractLatent
from lvexp.shapes import Float, Shaped, Tensor


class AbstractSequence(AbstractLatent, abc.ABC):
    """z is spoken symbol by symbol by the ``speaker``, and before anything is known by ``before``, p(z).

    Attributes:
        sides: how many speak, in turn. The first of two is told the task of a game (:mod:`lvexp.models.game`).
        heard: width of what one who listens to the end knows.
        nothing: the prior's parameters.
    """

    sides: ClassVar[int] = 1
    speaker: Policy
    before: Policy
    nothing: Tensor

    @property
    def continuous(self) -> bool:
        return False

    @property
    def configurations(self) -> int | None:
        """Number of sequences; None if they are too many to enumerate."""
        found = count(self.speaker)
        return found if found <= MOST else None

    @property
    def heard(self) -> int:
        return self.width

    def listened(self, code: Float[Tensor, "S B W"], params: Float[Tensor, "B P"]) -> Float[Tensor, "S B H"]:
        """What one who listens knows at the end, given the code of z and the posterior's parameters."""
        return code

    def posterior(self, params: Float[Tensor, "B P"]) -> Sequences:
        return Sequences(self.speaker, params)

    def prior(self, condition: Float[Tensor, "B C"] | None = None) -> Sequences:
        return Sequences(self.before, self.nothing)

    def point(self, q: Distribution) -> Shaped[Tensor, "B L K"]:
        return q.mode

    def between(self, start: Shaped[Tensor, ...], end: Shaped[Tensor, ...], share: float) -> Shaped[Tensor, ...]:
        return start

    def means(self, q: Distribution) -> None:
        return None
