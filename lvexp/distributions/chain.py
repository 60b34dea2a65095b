"""Two vectors, the second given the first, as one distribution."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch.distributions import Distribution, Independent, kl_divergence

from lvexp.distributions.composed import Composed
from lvexp.distributions.rate import rate
from lvexp.draws import Draw, expect
from lvexp.shapes import Float, Tensor


class Chain(Composed):
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

    def rate(self, p: Chain, draw: Draw) -> tuple[Float[Tensor, " B"], Float[Tensor, "B D"]]:
        """KL(q(u)‖p(u)) + E_q(u) KL(q(v|u)‖p(v|u)), all diagonal Gaussians, split over the dimensions of both. The
        second part depends on u alone, and so does its score."""
        u, _ = self.split(draw.value)
        _, above = rate(self.first, p.first, draw)
        one, other = self.second(u), p.second(u)
        assert above is not None, "its first part is a diagonal Gaussian"
        assert isinstance(one, Independent)
        assert isinstance(other, Independent)
        each = kl_divergence(one.base_dist, other.base_dist)
        known = dataclasses.replace(draw, score=self.first.log_prob(u)) if draw.score.requires_grad else draw
        split = torch.cat([above, torch.stack([expect(part, known) for part in each.unbind(-1)], -1)], -1)
        return split.sum(-1), split

    def expand(self, batch_shape: torch.Size | tuple[int, ...], _instance: Chain | None = None) -> Chain:
        return Chain(self.first.expand(torch.Size(batch_shape)), self.second, self.size)
