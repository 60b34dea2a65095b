"""Pretrains the model as an auto-encoder."""

from __future__ import annotations

from lvexp.errors import ConfigError
from lvexp.regularizers.base import Course, Regularizer

_RESETS = ("decoder", "none")


class Pretrain(Regularizer):
    r"""Pretraining as an auto-encoder (Li et al. 2019): beta = 0 for some epochs, then a new decoder.

    During pretraining the loss omits the rate, but z is still drawn from q(z|x), as in their released code
    (``text_beta.py`` with ``--beta 0``). Afterwards the decoder's parameters are reinitialised and their optimiser
    state is discarded; the encoder's are kept. Then the schedule of beta begins. Until then, validations do not select
    the best parameters and do not count towards the patience of early stopping, because the bound of an auto-encoder is
    meaningless.

    The paper combines this with free bits and a schedule: ``regularizer=[pretrain,free_bits] anneal=linear`` (free bits
    per dimension, ``fb=2`` there, with a budget of 8 nats).

    The released code continues from the best epoch of the auto-encoder, by its distortion on the validation set, and
    resets both optimisers. Here training continues from the last step and keeps the encoder's optimiser state.

    Args:
        epochs: number of epochs as an auto-encoder.
        reset: "decoder", or "none" to keep the pretrained decoder.
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
