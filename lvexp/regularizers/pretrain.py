"""An auto-encoder first."""

from __future__ import annotations

from lvexp.errors import ConfigError
from lvexp.regularizers.base import Course, Regularizer

_RESETS = ("decoder", "none")


class Pretrain(Regularizer):
    r"""Pretraining as an auto-encoder (Li et al. 2019): beta = 0 for some epochs, then a new decoder.

    While it lasts the rate is left out of the loss; z is drawn from q(z|x) all the same, as in their released code
    (``text_beta.py`` with ``--beta 0``). Then the decoder's parameters are drawn anew and its optimiser state is
    forgotten, the encoder's stay, and the schedule of beta begins. Validations until then pick no best parameters and
    wear out no patience: the bound of an auto-encoder says nothing.

    In the paper this goes with a floor and a schedule: ``regularizer=[pretrain,free_bits] anneal=linear`` (free bits
    per dimension, ``fb=2`` there, with a budget of 8 nats).

    The released code keeps the best epoch of the auto-encoder, by its distortion on the validation set, and makes both
    optimisers anew; here training goes on from the last step, with the encoder's optimiser as it is.

    Args:
        epochs: of the auto-encoder.
        reset: "decoder", or "none" to keep what the decoder has learnt.
    """

    memory = ("preparing", "start")

    def __init__(self, epochs: int = 5, reset: str = "decoder"):
        super().__init__()
        if epochs < 1:
            raise ConfigError(f"regularizer.pretrain.epochs={epochs}: it must be at least 1")
        if reset not in _RESETS:
            raise ConfigError(f"regularizer.pretrain.reset={reset}: it is one of {', '.join(_RESETS)}")
        self.epochs = self.delay = epochs
        self.reset = reset
        self.preparing, self.start = True, 0

    def clock(self, step: int) -> int | None:
        return None if self.preparing else step - self.start

    def begin(self, course: Course) -> None:
        progress = course.progress()
        if not self.preparing or progress.epoch < self.epochs:
            return
        self.preparing, self.start = False, progress.step
        if self.reset == "decoder":
            course.renew_decoder()
