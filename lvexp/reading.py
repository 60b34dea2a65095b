"""What a model computes from a batch once, before it scores or writes texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from lvexp.shapes import Bool, Float, Int, Tensor


@dataclasses.dataclass(frozen=True)
class Memory:
    """A sequence of states that a decoder may read in addition to the code: those of a source, an answer, or the code.

    Attributes:
        states: one for each position, [B, T, H].
        mask: whether a position counts, [B, T].
        summary: one vector for the whole sequence, [B, H].
    """

    states: Float[Tensor, "B T H"]
    mask: Bool[Tensor, "B T"]
    summary: Float[Tensor, "B H"]

    def __getitem__(self, rows: slice | Int[Tensor, " B2"]) -> Memory:
        return Memory(self.states[rows], self.mask[rows], self.summary[rows])


@dataclasses.dataclass(frozen=True)
class Reading:
    """The part of a batch that posterior, prior, likelihood and writing use.

    Attributes:
        features: input of q(z|x), [B, H].
        condition: what the prior is conditioned on, [B, C]; None if the prior is unconditional.
        memories: name → memory that a decoder may read in addition to the code; may be empty.
    """

    features: Float[Tensor, "B H"]
    condition: Float[Tensor, "B C"] | None = None
    memories: Mapping[str, Memory] = dataclasses.field(default_factory=dict)

    def __getitem__(self, rows: slice | Int[Tensor, " B2"]) -> Reading:
        """The reading of the texts at ``rows``."""
        condition = None if self.condition is None else self.condition[rows]
        return Reading(self.features[rows], condition, {name: memory[rows] for name, memory in self.memories.items()})

    @property
    def again(self) -> Reading | None:
        """The reading, if a computation may run backward through it more than once; None if it must be made anew."""
        return self if self.only_features else None

    @property
    def only_features(self) -> bool:
        """Whether only the posterior depends on the reading."""
        return self.condition is None and not self.memories
