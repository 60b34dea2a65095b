"""The bound of a batch, in parts."""

from __future__ import annotations

import dataclasses

from torch.distributions import Distribution

from lvexp.data.batch import Batch
from lvexp.draws import Draw
from lvexp.reading import Reading
from lvexp.shapes import Float, Tensor


@dataclasses.dataclass(frozen=True)
class Terms:
    """Everything that a loss, a regularizer, an instrument or a picture may need to know about a batch.

    Attributes:
        batch: the texts. reading: what the model read of them.
        distortion: D = -E_q log p(x|z), nats per text, [B].
        rate: R = KL(q(z|x)‖p(z)), nats per text, [B]; None if the model has no prior.
        rate_per_dimension: the rate of each dimension, [B, D]; None if the dimensions are not independent.
        draw: the draws of z. code: the code that the decoder read for each draw, [S, B, W].
        params: the posterior's parameters. q, p: posterior and prior.
    """

    batch: Batch
    reading: Reading
    distortion: Float[Tensor, " B"]
    rate: Float[Tensor, " B"] | None
    rate_per_dimension: Float[Tensor, "B D"] | None
    draw: Draw
    code: Float[Tensor, "S B W"]
    params: Float[Tensor, "B P"]
    q: Distribution
    p: Distribution | None
