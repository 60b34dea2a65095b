"""Base class of priors that are chosen beside the posterior."""

from __future__ import annotations

import abc

from torch import nn
from torch.distributions import Distribution

from lvexp.shapes import Float, Tensor


class AbstractPrior(nn.Module, abc.ABC):
    """p(z) over vectors, with parameters of its own, which belong to the generative model.

    The rate then has no closed form: it is estimated from the draws of z, and does not split over dimensions.
    """

    @abc.abstractmethod
    def forward(self) -> Distribution:
        """p(z), batch shape []."""

    def placed(self, params: Float[Tensor, "B P"]) -> Float[Tensor, "B P"]:
        """The parameters of q(z|x) in the coordinates of the prior: as they are, unless it has coordinates of its
        own."""
        return params
