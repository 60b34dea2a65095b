"""What every regularizer is (every remedy against posterior collapse): a module with hooks in a training step."""

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
    """Where training stands: optimiser steps and epochs done, and the last validation's metrics.

    ``loss`` is the training loss of the step's texts, nats, summed; ``words`` how many tokens they predict. Both are
    left on the device: to look at them is to wait for it.
    """

    step: int
    epoch: int
    steps_per_epoch: int
    metrics: Mapping[str, float]
    loss: Tensor | float = 0.0
    words: Tensor | float = 0.0


@runtime_checkable
class Course(Protocol):
    """What a regularizer may do to the course of training; :class:`lvexp.training.module.Training` is one."""

    model: LatentModel

    def progress(self) -> Progress:
        """Where training stands."""
        ...

    def extra_step(self) -> None:
        """One more optimiser step, on a batch drawn at random from the epoch; no counter goes up."""
        ...

    def total(self, loss: float, words: float) -> float:
        """Loss per word over all processes."""
        ...

    def renew_decoder(self) -> None:
        """Draws the decoder's parameters anew and forgets their optimiser state."""
        ...


class Regularizer(nn.Module):
    """A remedy against posterior collapse. It overrides the hooks it needs; the defaults change nothing.

    ``corrupt``, ``rate``, ``weigh`` and ``penalty`` shape the training loss only: what is reported never depends on
    them. ``constrain`` and ``refine`` are part of the posterior and act in evaluation too. ``plan`` is asked before a
    step and ``update`` told after it; ``prepare``, ``begin`` and ``clock`` are about the course of training.

    Attributes:
        group: the parameter group of its own parameters.
        refines: whether it overrides ``refine``.
        memory: names of the plain attributes that training changes. A checkpoint to resume from keeps them; a return
            to the best parameters does not restore them.
        preparing: whether validations say nothing yet: they then neither select the best parameters nor count as
            validations without improvement.
        delay: epochs before the schedule of beta begins.
        floor: nats per text at which it holds the rate, or below which it does not press it, whether z carries
            information about the text or not; None if it does neither.
    """

    group: ClassVar[str] = "generative"
    refines: ClassVar[bool] = False
    memory: ClassVar[tuple[str, ...]] = ()
    preparing: bool = False
    delay: int = 0
    floor: float | None = None

    def attach(self, model: LatentModel) -> None:
        """Called once when the model is built, to make parameters whose sizes depend on the other parts."""

    def prepare(self, model: LatentModel) -> None:
        """Called once before training, but not when a finished run is loaded."""

    def begin(self, course: Course) -> None:
        """Called before each training step."""

    def clock(self, step: int) -> int | None:
        """The step at which the schedule of beta stands after ``step`` steps; None while the loss leaves out the
        rate."""
        return step

    def plan(self, progress: Progress) -> tuple[str, ...]:
        """Which parameter groups the next optimiser step trains, of :data:`~lvexp.models.base.GROUPS`. Asked before
        its forward pass, which then computes gradients for these alone."""
        return GROUPS

    def weigh(self, beta: float) -> Tensor | float:
        """The weight of the rate in the next loss, given the schedule's. There is one beta: the progress bar, the log
        and the loss have this one."""
        return beta

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
        """What the loss holds, times beta, in place of the rate."""
        return rate

    def penalty(self, terms: Terms) -> Float[Tensor, " B"] | float:
        """Added to the loss, nats per text."""
        return 0.0

    def update(self, progress: Progress) -> None:
        """Called once for every optimiser step, after its loss and before the parameters move. State that moves here
        is kept in buffers, which go back with the parameters when training returns to the best ones, or in
        ``memory``, which does not."""

    def watch(self) -> Mapping[str, Tensor]:
        """Figures of its own to log as ``train/…``, as they stood in the last loss."""
        return {}


def equip(model: LatentModel, regularizers: Sequence[Regularizer]) -> None:
    """Gives a new model its regularizers, in the order they act."""
    model.regularizers.extend(regularizers)
    for regularizer in regularizers:
        regularizer.attach(model)


def regularizers(model: LatentModel) -> list[Regularizer]:
    """A model's regularizers, in the order they act."""
    return cast(list[Regularizer], list(model.regularizers))


def refined(
    of: Iterable[Regularizer], params: Float[Tensor, "B P"], bound: Callable[[Tensor], Float[Tensor, " B"]]
) -> Float[Tensor, "B P"]:
    """The posterior's parameters after all that refine them."""
    for regularizer in of:
        params = regularizer.refine(params, bound)
    return params
