"""An estimator for each block of a mixed latent variable."""

from __future__ import annotations

from torch.distributions import Distribution

from lvexp.data.batch import Batch
from lvexp.distributions.joint import Joint
from lvexp.draws import Draw, product
from lvexp.errors import ConfigError
from lvexp.estimators.base import AbstractEstimator, Control
from lvexp.estimators.score import Score
from lvexp.shapes import Float, Tensor


class Blocks(AbstractEstimator):
    """Each block is drawn by its own estimator and all combinations are scored: S = S_1 S_2 … decoder rows per text.

    Score-function blocks share one baseline, that of the first; it is subtracted from the cost of a combination. The
    leave-one-out baseline is rejected: it would include other combinations that contain the same draw, and so be
    biased.

    Args:
        parts: block name → estimator.
    """

    def __init__(self, **parts: AbstractEstimator):
        super().__init__()
        for name, part in parts.items():
            if isinstance(part, Score) and part.baseline == "leave_one_out":
                raise ConfigError(
                    f"estimator.{name}.baseline=leave_one_out: the other combinations hold the same draws\n"
                    f"try  estimator.{name}.baseline=input | estimator.{name}.baseline=mean"
                )
            self.add_module(name, part)
        self.names = list(parts)

    def part(self, name: str) -> AbstractEstimator:
        """The estimator of a block."""
        found = self.get_submodule(name)
        assert isinstance(found, AbstractEstimator)
        return found

    def attach(self, vocabulary: int) -> None:
        for name in self.names:
            self.part(name).attach(vocabulary)

    def begin(self, step: int) -> None:
        for name in self.names:
            self.part(name).begin(step)

    def draw(self, q: Distribution, samples: int) -> Draw:
        assert isinstance(q, Joint)  # other latents are rejected before this
        return product([self.part(name).draw(block, samples) for name, block in q.blocks.items()])

    def control(self, cost: Float[Tensor, "S B"], batch: Batch) -> Control:
        scored = [part for part in map(self.part, self.names) if isinstance(part, Score)]
        return scored[0].control(cost, batch) if scored else Control()
