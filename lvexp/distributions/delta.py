"""A distribution with all its mass on one point."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch.distributions import Distribution, constraints

from lvexp.shapes import Tensor

_ONE = torch.Size()


class Delta(Distribution):
    r"""The point mass :math:`\delta(z - v)` over vectors: the posterior of a plain auto-encoder.

    It has samples and a mean but no density, so it cannot be used where ``log_prob`` is needed.

    Args:
        point: v, [*batch, D].
    """

    arg_constraints: ClassVar = {"point": constraints.real_vector}  # pyright: ignore[reportAssignmentType]
    support = constraints.real_vector  # pyright: ignore[reportAssignmentType]
    has_rsample = True

    def __init__(self, point: Tensor, validate_args: bool | None = None):
        self.point = point
        super().__init__(point.shape[:-1], point.shape[-1:], validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.point

    @property
    def mode(self) -> Tensor:
        return self.point

    @property
    def variance(self) -> Tensor:
        return torch.zeros_like(self.point)

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = _ONE) -> Tensor:
        return self.point.expand(self._extended_shape(torch.Size(sample_shape)))

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = _ONE) -> Tensor:
        return self.rsample(sample_shape).detach()  # a view made without gradients would still carry them

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> Delta:
        return Delta(self.point.expand(torch.Size(batch_shape) + self.event_shape), validate_args=False)
