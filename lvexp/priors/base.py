"""Base class of priors that are chosen beside the posterior."""

from __future__ import annotations

import abc

from torch import nn
from torch.distributions import Distribution


class AbstractPrior(nn.Module, abc.ABC):
    """p(z) over vectors, with parameters of its own, which belong to the generative model.

    The rate then has no closed form: it is estimated from the draws of z, and does not split over dimensions.
    """

    @abc.abstractmethod
    def forward(self) -> Distribution:
        """p(z), batch shape []."""
