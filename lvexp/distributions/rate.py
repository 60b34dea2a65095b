"""KL(q‖p), in closed form if torch has one, otherwise estimated from the draws."""

from __future__ import annotations

from torch.distributions import Distribution, Independent, kl_divergence

from lvexp.distributions.composed import Composed
from lvexp.draws import Draw, expect
from lvexp.shapes import Float, Tensor


def rate(q: Distribution, p: Distribution, draw: Draw) -> tuple[Float[Tensor, " B"], Float[Tensor, "B D"] | None]:
    r"""The rate :math:`R = KL(q(z|x) \| p(z))`, nats per text, and its split over dimensions.

    Uses the closed form registered in torch if there is one, which for discrete variables is the exact sum even if the
    draws are relaxed; otherwise :math:`E_q[\log q - \log p]` over the draws. A
    :class:`~lvexp.distributions.composed.Composed` distribution has its own.

    Returns:
        the rate, [B], and the rate of each dimension, [B, D], which sums to it; None if the dimensions are not
        independent in both distributions, given what precedes them.
    """
    if isinstance(q, Composed) and isinstance(p, type(q)):
        return q.rate(p, draw)
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
    if isinstance(q, Composed) and isinstance(p, type(q)):
        return q.exact(p)
    try:
        if isinstance(q, Independent) and isinstance(p, Independent):
            kl_divergence(q.base_dist, p.base_dist.expand(q.base_dist.batch_shape))
        else:
            kl_divergence(q, p)
    except NotImplementedError:
        return False
    return True
