"""KL(q‖p), in closed form where torch knows one, from the draws where it does not."""

from __future__ import annotations

import dataclasses

import torch
from torch.distributions import Distribution, Independent, kl_divergence

from lvexp.distributions.joint import Joint
from lvexp.draws import Draw, expect
from lvexp.shapes import Float, Tensor


def rate(q: Distribution, p: Distribution, draw: Draw) -> tuple[Float[Tensor, " B"], Float[Tensor, "B D"] | None]:
    r"""The rate :math:`R = KL(q(z|x) \| p(z))`, nats per text, and its split over dimensions.

    The closed form registered in torch where there is one, so for discrete variables the exact sum even where the
    draws are relaxed; else :math:`E_q[\log q - \log p]` over the draws. Of a :class:`~lvexp.distributions.joint.Joint`
    it is the sum over its blocks.

    Returns:
        the rate, [B], and the rate of each dimension, [B, D], which sums to it; None where the dimensions are not
        independent in both.
    """
    if isinstance(q, Joint) and isinstance(p, Joint):
        values = q.split(draw.value)
        parts = [rate(q.blocks[n], p.blocks[n], dataclasses.replace(draw, value=values[n])) for n in q.blocks]
        splits = [split for _, split in parts if split is not None]
        whole = len(splits) == len(parts)
        return torch.stack([total for total, _ in parts]).sum(0), torch.cat(splits, -1) if whole else None
    try:
        if isinstance(q, Independent) and isinstance(p, Independent):
            per_dimension = kl_divergence(q.base_dist, p.base_dist)
            return per_dimension.sum(-1), per_dimension
        return kl_divergence(q, p), None
    except NotImplementedError:
        return expect(q.log_prob(draw.value) - p.log_prob(draw.value), draw), None
