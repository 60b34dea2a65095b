"""An encoder that is kept abreast of the decoder."""

from __future__ import annotations

import torch
from torch import distributed

from lvexp.errors import ConfigError
from lvexp.regularizers.base import GROUPS, Progress, Regularizer


class Aggressive(Regularizer):
    r"""Aggressive training of the inference network (He et al. 2019, algorithm 1).

    Until the phase ends, training goes in cycles: inner steps, which train q(z|x) alone, and then one step that trains
    p(x|z) alone. The inner steps end once the loss per word, over the last ``check`` of them, is above that over the
    ``check`` before, or with the cycle. The phase ends for good when the mutual information of a validation is below
    that of an earlier one, ``between`` decoder steps before, or after ``epochs``; from then on every step trains
    everything.

    Where we differ from the paper and its released code:

    - an inner step takes the next batch of the loader, where theirs draws one at random and goes back to the first
      batch for the decoder's step. An inner step is a step like any other: it counts in epochs and in
      ``trainer.max_steps``, so an epoch of the phase holds far fewer decoder steps than theirs, and training needs
      several times the epochs of a plain run;
    - they compare validations that are one pass of decoder steps apart, for which an epoch of ours is too short: the
      mutual information of a decoder that has hardly begun is noise, hence ``between``;
    - the schedule of beta waits during inner steps, as theirs does;
    - the mutual information is the report's, under the aggregate posterior of up to ``evaluation.mi_sentences`` texts;
      theirs is a mean over minibatches, which cannot exceed the log of their size;
    - ``epochs`` is ours: the paper's phase has no limit, and "usually" ends within five of its epochs;
    - the norm to which gradients are clipped is that of the group that is trained.

    Args:
        inner: steps of a cycle at most; the last of them is the decoder's.
        check: inner steps between two looks at the loss.
        between: decoder steps, at least, between two validations that are compared.
        epochs: of the loader, after which the phase ends in any case.
    """

    memory = ("active", "taken", "waited", "outer", "loss", "words", "before", "seen", "information")

    def __init__(self, inner: int = 100, check: int = 15, between: int = 100, epochs: int = 5):
        super().__init__()
        for name, value in {"inner": inner, "check": check, "between": between, "epochs": epochs}.items():
            if value < 1:
                raise ConfigError(f"regularizer.aggressive.{name}={value}: it must be at least 1")
        self.inner, self.check, self.between, self.epochs = inner, check, between, epochs
        self.active = True
        self.taken, self.waited = 0, 0  # inner steps of this cycle, and of all
        self.outer = 0  # decoder steps since the last validation that was compared
        self.loss, self.words = 0.0, 0  # since the last look, nats and tokens
        self.before = float("inf")  # what the last look saw, nats per word
        self.seen, self.information = 0.0, 0.0  # nats: of the last validation, and of the last that was compared

    def clock(self, step: int) -> int:
        return step - self.waited

    def plan(self, progress: Progress) -> tuple[str, ...]:
        inference, generative = GROUPS
        seen = progress.metrics.get("val/mi", self.seen)
        if seen != self.seen and self.outer >= self.between:  # a validation since the last step
            self.active = self.active and seen >= self.information
            self.information, self.outer = seen, 0
        self.seen = seen
        self.active = self.active and progress.epoch < self.epochs
        if not self.active:
            return GROUPS
        if self.taken + 1 >= self.inner or self._converged():
            self.taken, self.loss, self.words, self.before = 0, 0.0, 0, float("inf")
            self.outer += 1
            return (generative,)
        self.taken, self.waited = self.taken + 1, self.waited + 1
        self.loss, self.words = self.loss + progress.loss, self.words + progress.words
        return (inference,)

    def _converged(self) -> bool:
        """Whether the loss has risen, where it is time to look."""
        if not self.taken or self.taken % self.check or not self.words:
            return False
        mean = _together(self.loss, self.words)
        risen, self.before = mean > self.before, mean
        self.loss, self.words = 0.0, 0
        return risen


def _together(loss: float, words: int) -> float:
    """The loss per word over all processes, which must come to the same plan."""
    if not distributed.is_available() or not distributed.is_initialized():
        return loss / words
    sums = torch.tensor([loss, words], dtype=torch.float64)
    if distributed.get_backend() == "nccl":
        sums = sums.cuda()
    distributed.all_reduce(sums)
    return float(sums[0] / sums[1])
