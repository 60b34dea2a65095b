"""Extra training of the encoder, so that it keeps up with the decoder."""

from __future__ import annotations

from lvexp.errors import ConfigError
from lvexp.models.base import GROUPS
from lvexp.regularizers.base import Course, Progress, Regularizer
from lvexp.shapes import Tensor


class Aggressive(Regularizer):
    r"""Aggressive training of the inference network (He et al. 2019, algorithm 1).

    Until the phase ends, every training step trains p(x|z) alone. It is preceded by a cycle of inner steps that train
    q(z|x) alone, each on a randomly drawn batch of the epoch. A cycle ends when the loss per word over its last
    ``check`` inner steps is above that over the ``check`` steps before, and at the latest after ``inner`` steps. The
    phase ends for good when the mutual information at the end of an epoch is below that of the previous epoch, measured
    by validation. From then on every step trains all parameters.

    Inner steps are not counted: an epoch is one pass of decoder steps, and ``trainer.max_steps``, the schedule of beta
    and validations count decoder steps only. An epoch of the phase can therefore cost up to ``inner`` times as much.

    Differences from the paper and its released code:

    - the first inner step of a cycle draws its batch like the others; theirs uses the decoder's batch;
    - the mutual information is the report's, under the aggregate posterior of up to ``evaluation.mi_sentences`` texts;
      theirs is a mean over minibatches, which cannot exceed the log of their size;
    - gradients are clipped by the norm of the group that is trained; theirs by the norm of all parameters;
    - ``epochs`` is our addition: the paper's phase has no limit, and "usually" ends within five epochs.

    Args:
        inner: largest number of steps of a cycle, including the decoder's.
        check: number of inner steps between two checks of the loss.
        epochs: number of epochs after which the phase ends in any case; None for no limit.
    """

    memory = ("active", "due", "epoch", "information")

    def __init__(self, inner: int = 100, check: int = 15, epochs: int | None = 5):
        super().__init__()
        for name, value in {"inner": inner, "check": check, "epochs": epochs}.items():
            if value is not None and value < 1:
                raise ConfigError(f"regularizer.aggressive.{name}={value}: it must be at least 1")
        self.inner, self.check, self.epochs = inner, check, epochs
        self.active = True
        self.due = True  # whether the inner steps before the next decoder step are still to be taken
        self.epoch, self.information = 0, 0.0  # the last epoch begun, and the mutual information then, nats
        self.inside = False  # whether the current step is an inner one
        self.loss: Tensor | float = 0.0  # since the last check, nats
        self.words: Tensor | float = 0.0  # tokens since the last check

    def begin(self, course: Course) -> None:
        if not self.active or not self.due:  # one cycle per optimiser step, which may take several batches
            return
        self._judge(course.progress())
        if self.active:
            self._catch_up(course)
            self.due = False

    def plan(self, progress: Progress) -> tuple[str, ...]:
        inference, generative = GROUPS
        if self.inside:
            return (inference,)
        return (generative,) if self.active else GROUPS

    def update(self, progress: Progress) -> None:
        if self.inside:
            self.loss, self.words = self.loss + progress.loss, self.words + progress.words
        else:
            self.due = True

    def _judge(self, progress: Progress) -> None:
        """Ends the phase if its criterion is met."""
        if progress.epoch == self.epoch:
            return
        self.epoch, before = progress.epoch, self.information
        self.information = progress.metrics.get("val/mi", before)
        self.active = self.information >= before and (self.epochs is None or self.epoch < self.epochs)

    def _catch_up(self, course: Course) -> None:
        """The inner steps of a cycle."""
        self.inside, self.loss, self.words, before = True, 0.0, 0.0, float("inf")
        for taken in range(1, self.inner):
            course.extra_step()
            if taken % self.check == 0:
                mean = course.total(float(self.loss), float(self.words))
                if mean > before:
                    break
                self.loss, self.words, before = 0.0, 0.0, mean
        self.inside = False
