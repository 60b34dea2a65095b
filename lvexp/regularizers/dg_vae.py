"""Pulls the aggregate posterior of a batch to the prior, in place of the posterior of each text."""

from __future__ import annotations

import math

import torch

from lvexp.errors import ConfigError
from lvexp.regularizers.base import Regularizer
from lvexp.shapes import Float, Tensor
from lvexp.terms import Terms


class DGVAE(Regularizer):
    r"""DG-VAE (Zhang et al. 2022): the rate in the loss is replaced by the KL of the marginals of the batch's aggregate
    posterior :math:`\bar q_B(z) = \frac1B \sum_i q(z|x_i)` from the prior, summed over dimensions, from M draws for
    each text:

    .. math:: \sum_d KL(\bar q_B(z_d) \| p(z_d)) \approx \sum_d \frac1{MB} \sum_{i,m}
              \Big[\log \frac1B \sum_j q(z_{imd}|x_j) - \log p(z_{imd})\Big]

    z may then carry up to log B nats in each dimension at no cost, and the loss is no bound on the likelihood; the
    report has the true D and R, as always. beta weighs this term as it would the rate. For a batch of one text it is
    the rate. (Their loss adds up the dimensions of marginals as well; the gap of the joint distribution is not seen.)

    Args:
        draws: M.
    """

    def __init__(self, draws: int = 32):
        super().__init__()
        if draws < 1:
            raise ConfigError(f"regularizer.dg_vae.draws={draws}: it is at least 1")
        self.draws, self.beta = draws, 1.0

    def weigh(self, beta: float) -> float:
        self.beta = beta
        return beta

    def rate(self, rate: Float[Tensor, " B"], per_dimension: Float[Tensor, "B D"] | None) -> Float[Tensor, " B"]:
        return torch.zeros_like(rate)

    def penalty(self, terms: Terms) -> Float[Tensor, " B"]:
        return self.beta * gap(terms, self.draws).expand(len(terms.batch))


def gap(terms: Terms, draws: int) -> Float[Tensor, ""]:
    """The Monte-Carlo estimate, nats."""
    q, p = terms.q, terms.p
    assert isinstance(q, torch.distributions.Independent)  # lvexp.checks rejects all but the Gaussian
    assert isinstance(p, torch.distributions.Independent)
    z = q.rsample(torch.Size((draws,)))
    each = q.base_dist.log_prob(z.unsqueeze(2))  # [M, B, B, D]: draws of text i under q(z_d|x_j)
    aggregate = each.logsumexp(2) - math.log(each.shape[2])
    return (aggregate - p.base_dist.log_prob(z)).mean((0, 1)).sum()
