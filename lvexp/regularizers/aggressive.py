"""An encoder that is kept abreast of the decoder."""

from __future__ import annotations

from lvexp.errors import ConfigError
from lvexp.models.base import GROUPS
from lvexp.regularizers.base import Course, Progress, Regularizer
from lvexp.shapes import Tensor


class Aggressive(Regularizer):
    r"""Aggressive training of the inference network (He et al. 2019, algorithm 1).

    Until the phase ends, every training step trains p(x|z) alone, and before it come inner steps that train q(z|x)
    alone, each on a batch of the epoch that is drawn at random. The inner steps end once the loss per word, over the
    last ``check`` of them, is above that over the ``check`` before, or with the cycle. The phase ends for good when
    the mutual information of the validation at an epoch's end is below that of the epoch before; from then on every
    step trains everything.

    Inner steps count nowhere: an epoch is one pass of decoder steps, and ``trainer.max_steps``, the schedule of beta
    and validations go by those alone. So the phase costs up to ``inner`` times the epochs it lasts.

    Where we differ from the paper and its released code:

    - the first inner step of a cycle draws its batch as the others do, where theirs takes the decoder's;
    - the mutual information is the report's, under the aggregate posterior of up to ``evaluation.mi_sentences`` texts;
      theirs is a mean over minibatches, which cannot exceed the log of their size;
    - the norm to which gradients are clipped is that of the group that is trained, theirs that of all parameters;
    - ``epochs`` is ours: the paper's phase has no limit, and "usually" ends within five epochs.

    Args:
        inner: steps of a cycle at most, the decoder's included.
        check: inner steps between two looks at the loss.
        epochs: after which the phase ends in any case; None for no limit.
    """

    memory = ("active", "due", "epoch", "information")

    def __init__(self, inner: int = 100, check: int = 15, epochs: int | None = 5):
        super().__init__()
        for name, value in {"inner": inner, "check": check, "epochs": epochs}.items():
            if value is not None and value < 1:
                raise ConfigError(f"regularizer.aggressive.{name}={value}: it must be at least 1")
        self.inner, self.check, self.epochs = inner, check, epochs
        self.active = True
        self.due = True  # whether the next decoder step still lacks its inner steps
        self.epoch, self.information = 0, 0.0  # the last epoch begun, and what was known then, nats
        self.inside = False  # whether the step at hand is an inner one
        self.loss: Tensor | float = 0.0  # since the last look, nats
        self.words: Tensor | float = 0.0  # and tokens

    def begin(self, course: Course) -> None:
        if not self.active or not self.due:  # one cycle for one optimiser step, however many batches that takes
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
        """Ends the phase where it is over."""
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
