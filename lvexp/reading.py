"""What a model reads of a batch, once, before anything is scored or written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from lvexp.shapes import Bool, Float, Int, Tensor


@dataclasses.dataclass(frozen=True)
class Memory:
    """A sequence of states that a decoder may look at beside the code: those of a source, of an answer, of the code.

    Attributes:
        states: one for each position, [B, T, H].
        mask: True where a position counts, [B, T].
        summary: one vector for the whole, [B, H].
    """

    states: Float[Tensor, "B T H"]
    mask: Bool[Tensor, "B T"]
    summary: Float[Tensor, "B H"]

    def __getitem__(self, rows: slice | Int[Tensor, " B2"]) -> Memory:
        return Memory(self.states[rows], self.mask[rows], self.summary[rows])


@dataclasses.dataclass(frozen=True)
class Reading:
    """What posterior, prior, likelihood and writing are given of a batch.

    Attributes:
        features: what q(z|x) is made from, [B, H].
        condition: what the prior is conditioned on, [B, C]; None where it is not.
        memories: name → what a decoder may look at beside the code; empty where there is nothing.
    """

    features: Float[Tensor, "B H"]
    condition: Float[Tensor, "B C"] | None = None
    memories: Mapping[str, Memory] = dataclasses.field(default_factory=dict)

    def __getitem__(self, rows: slice | Int[Tensor, " B2"]) -> Reading:
        """The reading of the texts at ``rows``."""
        condition = None if self.condition is None else self.condition[rows]
        return Reading(self.features[rows], condition, {name: memory[rows] for name, memory in self.memories.items()})

    @property
    def only_features(self) -> bool:
        """Whether nothing but the posterior depends on it."""
        return self.condition is None and not self.memories
