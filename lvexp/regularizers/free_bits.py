"""Makes the rate free of charge below a budget."""

from __future__ import annotations

from lvexp.errors import ConfigError
from lvexp.regularizers.base import Regularizer
from lvexp.shapes import Float, Tensor

_PER = ("dimension", "example", "batch")


class FreeBits(Regularizer):
    r"""Free bits: no gradient pushes the rate below a budget of λ nats (Kingma et al. 2016, app. C.8).

    The name is used for three different methods. With D dimensions and budget λ, they replace R in the loss by

    - ``per=dimension``: :math:`\sum_d \max(\lambda/D, R_d(x))` for each text (Li et al. 2019, ``fb=2``);
    - ``per=example``: :math:`\max(\lambda, R(x))` for each text (``fb=1`` there);
    - ``per=batch``: :math:`\sum_d \max(\lambda/D, \overline{R_d})` with the batch mean (Kingma et al. 2016, eq. 15).

    λ is the budget of the whole z in all three; a budget that a paper states per dimension is λ/D.

    Args:
        nats: λ, nats per text.
        per: "dimension", "example" or "batch".
    """

    def __init__(self, nats: float = 4.0, per: str = "dimension"):
        super().__init__()
        if nats < 0:
            raise ConfigError(f"regularizer.free_bits.nats={nats}: a budget is not negative")
        if per not in _PER:
            raise ConfigError(f"regularizer.free_bits.per={per}: the floor is one of {', '.join(_PER)}")
        self.nats, self.per, self.floor = nats, per, nats

    def rate(self, rate: Float[Tensor, " B"], per_dimension: Float[Tensor, "B D"] | None) -> Float[Tensor, " B"]:
        if self.per == "example":
            return rate.clamp(min=self.nats)
        assert per_dimension is not None  # lvexp.checks rejects latents whose rate does not split
        if self.per == "batch":
            per_dimension = per_dimension.mean(0, keepdim=True).expand_as(per_dimension)
        return per_dimension.clamp(min=self.nats / per_dimension.shape[-1]).sum(-1)
