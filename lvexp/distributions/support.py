"""All values of a discrete variable."""

from __future__ import annotations

import torch
from torch.distributions import Distribution, Independent

from lvexp.shapes import Shaped, Tensor


def configurations(q: Distribution) -> int | None:
    """How many values one draw from ``q`` can take: K, or K^N for N independent variables; None if not finite."""
    base = q.base_dist if isinstance(q, Independent) else q
    if not base.has_enumerate_support:
        return None
    variables = q.event_shape.numel() // base.event_shape.numel()
    return len(base.enumerate_support(expand=False)) ** variables


def support(q: Distribution) -> Shaped[Tensor, "S B *event"]:
    """Every value of ``q``, S = :func:`configurations` of them, the last variable's value changing fastest.

    torch enumerates single variables only; N independent ones have K^N values.
    """
    if not isinstance(q, Independent):
        return q.enumerate_support(expand=True)
    one, event = q.base_dist.enumerate_support(expand=False), q.base_dist.event_shape
    values = one.reshape(len(one), *event)  # of a single variable
    each = torch.arange(len(values), device=values.device)
    variables = q.event_shape.numel() // event.numel()
    rows = torch.cartesian_prod(*[each] * variables).view(-1, variables)
    every = values[rows].reshape(len(rows), *[1] * len(q.batch_shape), *q.event_shape)
    return every.expand(len(rows), *q.batch_shape, *q.event_shape)
