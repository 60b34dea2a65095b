"""Rewards the information that z carries about x."""

from __future__ import annotations

import math

from lvexp.draws import expect
from lvexp.errors import ConfigError
from lvexp.regularizers.base import Regularizer
from lvexp.shapes import Float, Tensor
from lvexp.terms import Terms


class MutualInformation(Regularizer):
    r"""Subtracts weight × I_q(x; z): InfoVAE's α (Zhao, Song & Ermon 2017).

    The rate is :math:`R = I_q(x; z) + KL(q(z) \| p(z))` (Hoffman & Johnson 2016), so with weight 1 and beta 1 the loss
    is :math:`D + KL(q(z) \| p(z))`: information about x costs nothing. I is estimated under the aggregate posterior of
    the batch, with the draws z_i that the decoder read:

    .. math:: \frac1B \sum_i \Big[\log q(z_i|x_i) - \log \frac1B \sum_j q(z_i|x_j)\Big]

    No text contributes more than log B (3.47 nats for 32 texts), so the estimate cannot exceed log B, and its gradient
    vanishes near it: the regularizer only requires that the texts of a batch can be told apart. Its mean over batches
    is a lower bound on I over the corpus. For a batch of one text it is 0.

    Args:
        weight: of I, nats of loss per nat of information.
    """

    def __init__(self, weight: float = 1.0):
        super().__init__()
        if weight < 0:
            raise ConfigError(f"regularizer.mutual_information.weight={weight}: a weight is not negative")
        self.weight = weight

    def penalty(self, terms: Terms) -> Float[Tensor, " B"]:
        log_q = terms.q.log_prob(terms.draw.value.unsqueeze(2))  # [S, B, B]: draws of text i under q(z|x_j)
        own = log_q.diagonal(dim1=1, dim2=2)
        aggregate = log_q.logsumexp(2) - math.log(len(terms.batch))
        return -self.weight * expect(own - aggregate, terms.draw)
