"""KL(q‖p), in closed form where torch knows one, from the draws where it does not."""

from __future__ import annotations

from torch.distributions import Distribution, Independent, kl_divergence

from lvexp.draws import Draw, expect
from lvexp.shapes import Float, Tensor


def rate(q: Distribution, p: Distribution, draw: Draw) -> tuple[Float[Tensor, " B"], Float[Tensor, "B D"] | None]:
    r"""The rate :math:`R = KL(q(z|x) \| p(z))`, nats per text, and its split over dimensions.

    The closed form registered in torch where there is one; else :math:`E_q[\log q - \log p]` over the draws.

    Returns:
        the rate, [B], and the rate of each dimension, [B, D], which sums to it; None where the dimensions are not
        independent in both.
    """
    try:
        if isinstance(q, Independent) and isinstance(p, Independent):
            per_dimension = kl_divergence(q.base_dist, p.base_dist)
            return per_dimension.sum(-1), per_dimension
        return kl_divergence(q, p), None
    except NotImplementedError:
        return expect(q.log_prob(draw.value) - p.log_prob(draw.value), draw), None
