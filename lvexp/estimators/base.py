"""What every estimator of the gradient of E_q is."""

from __future__ import annotations

import abc

from torch.distributions import Distribution

from lvexp.draws import Draw


class AbstractEstimator(abc.ABC):
    """Turns a distribution into weighted draws; :func:`lvexp.draws.expect` turns those into a gradient."""

    @abc.abstractmethod
    def __call__(self, q: Distribution, samples: int) -> Draw:
        """``samples`` draws from ``q`` (an estimator that enumerates returns one draw for each value instead)."""
