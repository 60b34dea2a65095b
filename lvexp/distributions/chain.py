"""Two vectors, the second given the first, as one distribution."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.distributions import Distribution

from lvexp.shapes import Float, Tensor


class Chain(Distribution):
    r""":math:`q(u)\, q(v|u)`, whose values are u and v side by side.

    Args:
        first: q(u), over vectors. second: u → q(v|u), over vectors, with ``rsample``; its batch shape is that of u
            broadcast to that of ``first``.
        size: number of entries of v.
    """

    has_rsample = True

    def __init__(self, first: Distribution, second: Callable[[Tensor], Distribution], size: int):
        self.first, self.second, self.size = first, second, size
        super().__init__(first.batch_shape, torch.Size([first.event_shape[0] + size]), validate_args=False)

    def split(self, value: Float[Tensor, "... W"]) -> tuple[Float[Tensor, "... U"], Float[Tensor, "... V"]]:
        """u, and v."""
        return value[..., : -self.size], value[..., -self.size :]

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Float[Tensor, "*shape W"]:
        u = self.first.rsample(torch.Size(sample_shape))
        return torch.cat([u, self.second(u).rsample()], -1)

    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Float[Tensor, "*shape W"]:
        with torch.no_grad():
            return self.rsample(sample_shape)

    def log_prob(self, value: Float[Tensor, "... W"]) -> Float[Tensor, "*shape"]:
        u, v = self.split(value)
        return self.first.log_prob(u) + self.second(u).log_prob(v)

    def expand(self, batch_shape: torch.Size | tuple[int, ...], _instance: Chain | None = None) -> Chain:
        return Chain(self.first.expand(torch.Size(batch_shape)), self.second, self.size)
