"""Trains encoder and decoder alternately."""

from __future__ import annotations

from lvexp.errors import ConfigError
from lvexp.models.base import GROUPS
from lvexp.regularizers.base import Progress, Regularizer


class Alternate(Regularizer):
    """Trains p(x|z) alone for some passes over the corpus, then q(z|x) alone for as many, and so on. This is the
    optimisation in the released code of NVDM (Miao et al. 2016), which begins with the decoder.

    A pass is an epoch and counts as one, so alternating training needs twice as many epochs as joint training.

    Args:
        passes: number of passes over the corpus between two switches; 10 in the released code.
    """

    def __init__(self, passes: int = 10):
        super().__init__()
        if passes < 1:
            raise ConfigError(f"regularizer.alternate.passes={passes}: it must be at least 1")
        self.passes = passes

    def plan(self, progress: Progress) -> tuple[str, ...]:
        inference, generative = GROUPS
        return (inference,) if progress.epoch // self.passes % 2 else (generative,)
