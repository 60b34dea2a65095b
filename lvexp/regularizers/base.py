"""What every remedy against posterior collapse is: a module that acts in at most six places of a step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

from torch import nn
from torch.distributions import Distribution

from lvexp.data.batch import Batch
from lvexp.draws import Draw
from lvexp.shapes import Float, Int, Tensor

if TYPE_CHECKING:
    from lvexp.models.base import LatentModel

#: the parameter groups a plan may train: encoder and posterior; decoder, prior and what remedies add
GROUPS = ("inference", "generative")


@dataclasses.dataclass(frozen=True)
class Terms:
    """All that a loss, a remedy, a metric or a plot may want to know of a batch.

    Attributes:
        batch: the texts.
        distortion: D = -E_q log p(x|z), nats per text, [B].
        rate: R = KL(q(z|x)‖p(z)), nats per text, [B]; None where the model has no prior.
        rate_per_dimension: its split, [B, D]; None where the dimensions are not independent.
        draw: the draws of z. code: what the decoder read for them, [S, B, W].
        params: the posterior's parameters. q, p: posterior and prior.
    """

    batch: Batch
    distortion: Float[Tensor, " B"]
    rate: Float[Tensor, " B"] | None
    rate_per_dimension: Float[Tensor, "B D"] | None
    draw: Draw
    code: Float[Tensor, "S B W"]
    params: Float[Tensor, "B P"]
    q: Distribution
    p: Distribution | None


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where training stands, for a remedy that plans: steps and epochs done, and the last validation's metrics.

    ``loss`` is the training loss of the step's texts, nats, summed; ``words`` how many tokens they predict.
    """

    step: int
    epoch: int
    steps_per_epoch: int
    metrics: Mapping[str, float]
    loss: float = 0.0
    words: int = 0


class Regularizer(nn.Module):
    """A remedy. It overrides the hooks it needs; the defaults change nothing.

    ``corrupt``, ``rate`` and ``penalty`` shape the training loss only: what is reported never depends on them.
    ``constrain`` and ``refine`` are part of the posterior and act in evaluation too. ``prepare``, ``begin`` and
    ``clock`` are not about a step but about the course of training.

    Attributes:
        memory: names of the plain attributes that training changes. A checkpoint to resume from keeps them; a return
            to the best parameters does not turn them back.
        preparing: whether validations say nothing yet: they then neither pick the best parameters nor wear out
            anybody's patience.
        delay: epochs before the schedule of beta begins.
        floor: nats per text at which it holds the rate, or below which it does not press it, whether z tells of the
            text or not; None where it does neither.
    """

    memory: ClassVar[tuple[str, ...]] = ()
    preparing: bool = False
    delay: int = 0
    floor: float | None = None

    def attach(self, model: LatentModel) -> None:
        """Called once when the model is built, to make parameters whose sizes depend on the other parts."""

    def prepare(self, model: LatentModel) -> None:
        """Called once before training, and not where a finished run is loaded."""

    def begin(self, model: LatentModel) -> None:
        """Called before each training step."""

    def clock(self, step: int) -> int | None:
        """The step at which beta stands, of this many taken; None while the rate is left out of the loss."""
        return step

    def corrupt(self, tokens: Int[Tensor, "B T"]) -> Int[Tensor, "B T"]:
        """The decoder's input in training."""
        return tokens

    def constrain(self, params: Float[Tensor, "B P"]) -> Float[Tensor, "B P"]:
        """The posterior's parameters, as the encoder gave them."""
        return params

    def refine(
        self, params: Float[Tensor, "B P"], bound: Callable[[Tensor], Float[Tensor, " B"]]
    ) -> Float[Tensor, "B P"]:
        """The posterior's parameters, improved text by text; ``bound`` gives the loss of parameters, [B]."""
        return params

    def rate(self, rate: Float[Tensor, " B"], per_dimension: Float[Tensor, "B D"] | None) -> Float[Tensor, " B"]:
        """What stands in the loss, times beta, for the rate."""
        return rate

    def penalty(self, terms: Terms) -> Float[Tensor, " B"] | float:
        """Added to the loss, nats per text."""
        return 0.0

    def plan(self, progress: Progress) -> tuple[str, ...]:
        """Which parameter groups the next step trains, of :data:`GROUPS`. Called once before every optimiser step,
        after its loss: a remedy with a state of its own moves it here, and keeps it in buffers, which go back with
        the parameters when training returns to the best ones, or in its ``memory``, which does not."""
        return GROUPS

    def watch(self) -> Mapping[str, Tensor]:
        """Figures of its own to log as ``train/…``, as they stood in the last loss. One that sets beta names it so."""
        return {}
