"""A mixture of diagonal Gaussians."""

from __future__ import annotations

import torch
from torch import nn
from torch.distributions import Categorical, MixtureSameFamily

from lvexp.distributions.normal import diagonal
from lvexp.priors.base import AbstractPrior


class Mixture(AbstractPrior):
    r""":math:`\log p(z) = \mathrm{logsumexp}_k \log N(z; m_k, \mathrm{diag}\,v_k) - \log K`, with learned means and
    variances (Tomczak & Welling 2018, MoG).

    Args:
        dim: D, dimensions of z.
        components: K.
        spread: standard deviation of the means at the start; the variances start at 1.
    """

    def __init__(self, dim: int, components: int = 100, spread: float = 0.5):
        super().__init__()
        self.params = nn.Parameter(torch.cat([spread * torch.randn(components, dim), torch.zeros(components, dim)], -1))

    def forward(self) -> MixtureSameFamily:
        equal = Categorical(logits=self.params.new_zeros(len(self.params)), validate_args=False)
        return MixtureSameFamily(equal, diagonal(self.params), validate_args=False)
