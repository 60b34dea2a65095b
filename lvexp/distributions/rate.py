"""KL(q‖p), in closed form if torch has one, otherwise estimated from the draws."""

from __future__ import annotations

import dataclasses

import torch
from torch.distributions import Distribution, Independent, kl_divergence

from lvexp.distributions.chain import Chain
from lvexp.distributions.joint import Joint
from lvexp.distributions.sequences import Sequences
from lvexp.draws import Draw, expect
from lvexp.shapes import Float, Tensor


def rate(q: Distribution, p: Distribution, draw: Draw) -> tuple[Float[Tensor, " B"], Float[Tensor, "B D"] | None]:
    r"""The rate :math:`R = KL(q(z|x) \| p(z))`, nats per text, and its split over dimensions.

    Uses the closed form registered in torch if there is one, which for discrete variables is the exact sum even if the
    draws are relaxed; otherwise :math:`E_q[\log q - \log p]` over the draws. The rate of a
    :class:`~lvexp.distributions.joint.Joint` is the sum over its blocks. That of
    :class:`~lvexp.distributions.sequences.Sequences` is the exact KL of each step, averaged over the draws of what
    precedes it; the score of a step is that of the symbols before it alone, on which its KL depends. So is that of
    :class:`~lvexp.distributions.chain.Chain`, and it splits over the dimensions of both parts.

    Returns:
        the rate, [B], and the rate of each dimension, [B, D], which sums to it; None if the dimensions are not
        independent in both distributions, given what precedes them.
    """
    if isinstance(q, Joint) and isinstance(p, Joint):
        values = q.split(draw.value)
        parts = [rate(q.blocks[n], p.blocks[n], dataclasses.replace(draw, value=values[n])) for n in q.blocks]
        splits = [split for _, split in parts if split is not None]
        whole = len(splits) == len(parts)
        return torch.stack([total for total, _ in parts]).sum(0), torch.cat(splits, -1) if whole else None
    if isinstance(q, Sequences) and isinstance(p, Sequences):
        return _of_steps(q, p, draw), None
    if isinstance(q, Chain) and isinstance(p, Chain):
        return _of_chain(q, p, draw)
    try:
        if isinstance(q, Independent) and isinstance(p, Independent):
            # expanded because torch's formula for Bernoulli variables does not broadcast
            per_dimension = kl_divergence(q.base_dist, p.base_dist.expand(q.base_dist.batch_shape))
            return per_dimension.sum(-1), per_dimension
        return kl_divergence(q, p), None
    except NotImplementedError:
        return expect(q.log_prob(draw.value) - p.log_prob(draw.value), draw), None


def in_closed_form(q: Distribution, p: Distribution) -> bool:
    """Whether :func:`rate` needs no draws."""
    if isinstance(q, Joint) and isinstance(p, Joint):
        return all(in_closed_form(q.blocks[name], p.blocks[name]) for name in q.blocks)
    if isinstance(q, Sequences | Chain):
        return False
    try:
        if isinstance(q, Independent) and isinstance(p, Independent):
            kl_divergence(q.base_dist, p.base_dist.expand(q.base_dist.batch_shape))
        else:
            kl_divergence(q, p)
    except NotImplementedError:
        return False
    return True


def _of_chain(q: Chain, p: Chain, draw: Draw) -> tuple[Float[Tensor, " B"], Float[Tensor, "B D"]]:
    """KL(q(u)‖p(u)) + E_q(u) KL(q(v|u)‖p(v|u)), diagonal Gaussians all."""
    u, _ = q.split(draw.value)
    _, above = rate(q.first, p.first, draw)
    one, other = q.second(u), p.second(u)
    assert above is not None, "its first part is a diagonal Gaussian"
    assert isinstance(one, Independent)
    assert isinstance(other, Independent)
    each = kl_divergence(one.base_dist, other.base_dist)
    known = dataclasses.replace(draw, score=q.first.log_prob(u)) if draw.score.requires_grad else draw
    split = torch.cat([above, torch.stack([expect(part, known) for part in each.unbind(-1)], -1)], -1)
    return split.sum(-1), split


def _of_steps(q: Sequences, p: Sequences, draw: Draw) -> Float[Tensor, " B"]:
    """E_q Σ_t KL(q(z_t|z_<t)‖p(z_t|z_<t))."""
    each = q.divergence(p, draw.value)
    before = torch.zeros_like(each)
    if draw.score.requires_grad:
        before = q.steps(draw.value).cumsum(-1) - q.steps(draw.value)
    steps = zip(each.unbind(-1), before.unbind(-1), strict=True)
    return torch.stack([expect(kl, dataclasses.replace(draw, score=score)) for kl, score in steps]).sum(0)
