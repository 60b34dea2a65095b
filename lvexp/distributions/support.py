"""Enumeration of the values of a discrete variable."""

from __future__ import annotations

import itertools
import math

import torch
from torch.distributions import Distribution, Independent

from lvexp.distributions.joint import Joint
from lvexp.shapes import Shaped, Tensor

#: the largest number of values of z for which the report sums over all of them
ENUMERATED = 256


def configurations(q: Distribution) -> int | None:
    """Number of values a draw from ``q`` can take: K, or K^N for N independent variables; None if not finite."""
    if isinstance(q, Joint):
        each = [configurations(block) for block in q.blocks.values()]
        return None if None in each else math.prod(number for number in each if number is not None)
    base = q.base_dist if isinstance(q, Independent) else q
    if not base.has_enumerate_support:
        return None
    variables = q.event_shape.numel() // base.event_shape.numel()
    return len(base.enumerate_support(expand=False)) ** variables


def support(q: Distribution) -> Shaped[Tensor, "S B *event"]:
    """Every value of ``q``, S = :func:`configurations` of them, with the last variable changing fastest.

    torch enumerates single variables only; N independent ones have K^N values, and blocks the product of their numbers
    of values.
    """
    if isinstance(q, Joint):
        blocks = [support(block.expand(q.batch_shape)) for block in q.blocks.values()]
        return torch.stack([
            q.joined(dict(zip(q.blocks, each, strict=True))) for each in itertools.product(*blocks)
        ])  # fmt: skip
    if not isinstance(q, Independent):
        return q.enumerate_support(expand=True)
    one, event = q.base_dist.enumerate_support(expand=False), q.base_dist.event_shape
    values = one.reshape(len(one), *event)  # of a single variable
    each = torch.arange(len(values), device=values.device)
    variables = q.event_shape.numel() // event.numel()
    rows = torch.cartesian_prod(*[each] * variables).view(-1, variables)
    every = values[rows].reshape(len(rows), *[1] * len(q.batch_shape), *q.event_shape)
    return every.expand(len(rows), *q.batch_shape, *q.event_shape)
