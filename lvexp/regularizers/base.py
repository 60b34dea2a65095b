"""Base class of all regularizers, the remedies against posterior collapse that hook into a training step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar, Protocol, cast, runtime_checkable

from torch import nn

from lvexp.models.base import GROUPS, LatentModel
from lvexp.shapes import Float, Int, Tensor
from lvexp.terms import Terms


@dataclasses.dataclass(frozen=True)
class Progress:
    """The state of training: completed optimiser steps and epochs, and the last validation's metrics.

    ``loss`` is the training loss in nats, summed over the step's texts; ``words`` is the number of their predicted
    tokens. Both stay on the device: reading them waits for it.
    """

    step: int
    epoch: int
    steps_per_epoch: int
    metrics: Mapping[str, float]
    loss: Tensor | float = 0.0
    words: Tensor | float = 0.0


@runtime_checkable
class Course(Protocol):
    """How a regularizer may control training; :class:`lvexp.training.module.Training` implements this protocol."""

    model: LatentModel

    def progress(self) -> Progress:
        """The state of training."""
        ...

    def extra_step(self) -> None:
        """Takes an additional optimiser step, on a batch drawn at random from the epoch; no counter is increased."""
        ...

    def total(self, loss: float, words: float) -> float:
        """Loss per word over all processes."""
        ...

    def renew_decoder(self) -> None:
        """Reinitialises the decoder's parameters and discards their optimiser state."""
        ...


class Regularizer(nn.Module):
    """A remedy against posterior collapse. A subclass overrides the hooks that it needs; the defaults do nothing.

    ``corrupt``, ``rate``, ``weigh`` and ``penalty`` affect the training loss only; reported figures never depend on
    them. ``constrain`` and ``refine`` are part of the posterior and also act in evaluation. ``plan`` is called before
    an optimiser step, ``update`` after its loss is known. ``prepare``, ``begin`` and ``clock`` control the course of
    training.

    Attributes:
        group: the parameter group of its own parameters.
        refines: whether it overrides ``refine``.
        memory: names of the plain attributes that training changes. They are saved in the checkpoint for resuming, but
            a return to the best parameters does not restore them.
        preparing: whether validations are to be disregarded for now: they then neither select the best parameters nor
            count as validations without improvement.
        delay: number of epochs before the schedule of beta begins.
        floor: nats per text at which it holds the rate, or below which it does not push the rate down, whether or not
            z carries information about the text; None if it does neither.
    """

    group: ClassVar[str] = "generative"
    refines: ClassVar[bool] = False
    memory: ClassVar[tuple[str, ...]] = ()
    preparing: bool = False
    delay: int = 0
    floor: float | None = None

    def attach(self, model: LatentModel) -> None:
        """Called once when the model is built, to create parameters whose sizes depend on the other parts."""

    def prepare(self, model: LatentModel) -> None:
        """Called once before training, but not when a finished run is loaded."""

    def begin(self, course: Course) -> None:
        """Called before each training step."""

    def clock(self, step: int) -> int | None:
        """The position of the schedule of beta after ``step`` steps, in steps; None while the loss omits the rate."""
        return step

    def plan(self, progress: Progress) -> tuple[str, ...]:
        """The parameter groups that the next optimiser step trains, out of :data:`~lvexp.models.base.GROUPS`. Called
        before its forward pass, which then computes gradients for these groups only."""
        return GROUPS

    def weigh(self, beta: float) -> Tensor | float:
        """The weight of the rate in the next loss, given that of the schedule. It is the only beta: the progress bar
        and the log show the same value that the loss uses."""
        return beta

    def corrupt(self, tokens: Int[Tensor, "B T"]) -> Int[Tensor, "B T"]:
        """The decoder's input in training."""
        return tokens

    def constrain(self, params: Float[Tensor, "B P"]) -> Float[Tensor, "B P"]:
        """The constrained parameters of the posterior, given those that the encoder computed."""
        return params

    def refine(
        self, params: Float[Tensor, "B P"], bound: Callable[[Tensor], Float[Tensor, " B"]]
    ) -> Float[Tensor, "B P"]:
        """The posterior's parameters, improved for each text separately; ``bound`` maps parameters to the losses of the
        texts, [B]."""
        return params

    def rate(self, rate: Float[Tensor, " B"], per_dimension: Float[Tensor, "B D"] | None) -> Float[Tensor, " B"]:
        """The term that replaces the rate in the loss; it is multiplied by beta."""
        return rate

    def penalty(self, terms: Terms) -> Float[Tensor, " B"] | float:
        """Added to the loss, nats per text."""
        return 0.0

    def update(self, progress: Progress) -> None:
        """Called once for every optimiser step, after its loss is computed and before the parameters change. State
        that changes here must be kept in buffers, which are restored when training returns to the best parameters, or
        in attributes listed in ``memory``, which are not."""

    def watch(self) -> Mapping[str, Tensor]:
        """Its own figures to log as ``train/…``, with the values used in the last loss."""
        return {}


def equip(model: LatentModel, regularizers: Sequence[Regularizer]) -> None:
    """Gives a new model its regularizers, in the order in which they act."""
    model.regularizers.extend(regularizers)
    for regularizer in regularizers:
        regularizer.attach(model)


def regularizers(model: LatentModel) -> list[Regularizer]:
    """A model's regularizers, in the order in which they act."""
    return cast(list[Regularizer], list(model.regularizers))


def refined(
    of: Iterable[Regularizer], params: Float[Tensor, "B P"], bound: Callable[[Tensor], Float[Tensor, " B"]]
) -> Float[Tensor, "B P"]:
    """The posterior's parameters after all regularizers have refined them."""
    for regularizer in of:
        params = regularizer.refine(params, bound)
    return params
