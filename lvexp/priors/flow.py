"""A masked autoregressive flow."""

from __future__ import annotations

from typing import Any

from torch.distributions import Distribution

from lvexp.errors import ConfigError
from lvexp.priors.base import AbstractPrior


class Flow(AbstractPrior):
    r""":math:`\log p(z) = \log N(f(z); 0, I) + \log|\det \partial f/\partial z|` with a masked autoregressive flow f
    (Papamakarios et al. 2017, MAF, as implemented in zuko): the autoregressive prior of the variational lossy
    auto-encoder (Chen et al. 2017), who show that it equals an inverse autoregressive posterior with a simple prior and
    a deeper decoder.

    :math:`f_d(z) = (z_d - m_d(z_{<d}))\, e^{-s_d(z_{<d})}`, and the order of the dimensions is reversed from one
    transformation to the next. A density costs one pass, a draw D of them for each transformation.

    Args:
        dim: D, dimensions of z.
        transforms: number of transformations.
        hidden: width of the two hidden layers of each.
    """

    def __init__(self, dim: int, transforms: int = 3, hidden: int = 64):
        super().__init__()
        try:
            import zuko
        except ImportError as error:
            raise ConfigError("prior=flow: zuko is not installed\ntry  pip install 'lvexp[flows]'") from error
        self.flow: Any = zuko.flows.MAF(dim, transforms=transforms, hidden_features=(hidden, hidden))

    def forward(self) -> Distribution:
        return self.flow()
