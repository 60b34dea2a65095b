"""Independent variables of different kinds as one distribution."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch.distributions import Distribution

from lvexp.distributions.composed import Composed
from lvexp.distributions.rate import in_closed_form, rate
from lvexp.draws import Draw
from lvexp.shapes import Float, Shaped, Tensor


class Joint(Composed):
    r"""Named blocks, independent of each other: :math:`q(z) = \prod_b q_b(z_b)`.

    A value is one vector, the concatenation of the blocks' flattened values, so that any code that takes draws of a
    latent variable can take these.

    Args:
        blocks: name → distribution, all of the same batch shape; a block of batch shape [] is broadcast.
    """

    def __init__(self, blocks: Mapping[str, Distribution]):
        self.blocks = dict(blocks)
        self.sizes = [block.event_shape.numel() for block in self.blocks.values()]
        batch = torch.broadcast_shapes(*(block.batch_shape for block in self.blocks.values()))
        super().__init__(batch, torch.Size([sum(self.sizes)]), validate_args=False)

    def split(self, value: Shaped[Tensor, "*shape W"]) -> dict[str, Tensor]:
        """The value of each block, in its own shape."""
        return {
            name: part.unflatten(-1, block.event_shape)
            for (name, block), part in zip(self.blocks.items(), value.split(self.sizes, -1), strict=True)
        }

    def joined(self, parts: Mapping[str, Tensor]) -> Shaped[Tensor, "*shape W"]:
        """The inverse of :meth:`split`."""
        flat = [parts[name].flatten(-len(block.event_shape)) for name, block in self.blocks.items()]
        return torch.cat(flat, -1)

    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        with torch.no_grad():
            return self.joined({name: block.sample(torch.Size(sample_shape)) for name, block in self.blocks.items()})

    def log_prob(self, value: Shaped[Tensor, "... W"]) -> Float[Tensor, "*shape"]:
        parts = self.split(value)
        return torch.stack([block.log_prob(parts[name]) for name, block in self.blocks.items()]).sum(0)

    def expand(self, batch_shape: torch.Size | tuple[int, ...], _instance: Joint | None = None) -> Joint:
        return Joint({name: block.expand(torch.Size(batch_shape)) for name, block in self.blocks.items()})

    def rate(self, p: Joint, draw: Draw) -> tuple[Float[Tensor, " B"], Float[Tensor, "B D"] | None]:
        """The sum of the rates of the blocks; it splits if each of them does."""
        values = self.split(draw.value)
        parts = [rate(q, p.blocks[n], dataclasses.replace(draw, value=values[n])) for n, q in self.blocks.items()]
        splits = [split for _, split in parts if split is not None]
        whole = len(splits) == len(parts)
        return torch.stack([total for total, _ in parts]).sum(0), torch.cat(splits, -1) if whole else None

    def exact(self, p: Joint) -> bool:
        return all(in_closed_form(q, p.blocks[name]) for name, q in self.blocks.items())

    @property
    def mean(self) -> Tensor:
        return self.joined({name: block.mean for name, block in self.blocks.items()})
