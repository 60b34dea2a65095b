"""An inverse autoregressive transformation."""

from __future__ import annotations

import torch
from torch.distributions import Transform, constraints
from torch.nn import functional as F

from lvexp.shapes import Float, Tensor

_FAR = 1e30  # the largest coordinate of an inverse: its square is not finite in 32 bits, sums of a few are


class InverseAutoregressive(Transform):
    r""":math:`y = s \odot x + (1 - s) \odot m` with :math:`s = \sigma(g(x, h))`, :math:`m = m(x, h)`, where output d of
    g and m depends on :math:`x_{<d}` and a context h alone (Kingma et al. 2016, eq. 13 and 14).

    g and m come from one masked layer of hidden units (Germain et al. 2015). The Jacobian is triangular, with
    :math:`\log|\det| = \sum_d \log s_d`. With a single hidden layer the inverse costs no more than the transformation:
    each dimension, once known, is added to the inputs of all hidden units.

    Args:
        inputs: weights of the hidden units, masked, [M, D].
        outputs: weights of m, then of g, masked, [2 D, M].
        bias: of m, then of g, [2 D].
        hidden: inputs of the hidden units from the context, biases included, [*batch, M].
        reverse: whether the order of the dimensions is reversed first.
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, inputs: Tensor, outputs: Tensor, bias: Tensor, hidden: Float[Tensor, "*batch M"], reverse: bool):
        super().__init__(cache_size=1)
        self.inputs, self.outputs, self.bias, self.hidden, self.reverse = inputs, outputs, bias, hidden, reverse

    def with_cache(self, cache_size: int = 1) -> InverseAutoregressive:
        return self

    def _turned(self, x: Tensor) -> Tensor:
        return x.flip(-1) if self.reverse else x

    def _parts(self, x: Float[Tensor, "... D"]) -> tuple[Tensor, Tensor]:
        """m, and g."""
        found = F.linear((F.linear(x, self.inputs) + self.hidden).relu(), self.outputs, self.bias)
        m, g = found.chunk(2, -1)
        return m, g

    def _call(self, x: Float[Tensor, "... D"]) -> Float[Tensor, "... D"]:
        x = self._turned(x)
        m, g = self._parts(x)
        s = g.sigmoid()
        return s * x + (1 - s) * m

    def _inverse(self, y: Float[Tensor, "... D"]) -> Float[Tensor, "... D"]:
        # At a point that the transformation hardly reaches, each dimension multiplies the error of those before it:
        # in 64 bits, and bounded, its density is 0 and not undefined.
        inputs, outputs, bias = self.inputs.double(), self.outputs.double(), self.bias.double()
        dim, total, far, found = y.shape[-1], self.hidden.double(), y.double(), []
        for d in range(dim):
            rows = torch.stack([outputs[d], outputs[dim + d]])
            m, g = F.linear(total.relu(), rows, bias[[d, dim + d]]).unbind(-1)
            x = (far[..., d] + (far[..., d] - m) * (-g.clamp(min=-60)).exp()).clamp(-_FAR, _FAR)
            found.append(x)
            total = total + x[..., None] * inputs[:, d]
        return self._turned(torch.stack(torch.broadcast_tensors(*found), -1)).to(y.dtype)

    def log_abs_det_jacobian(self, x: Float[Tensor, "... D"], y: Tensor) -> Float[Tensor, ...]:
        return F.logsigmoid(self._parts(self._turned(x))[1]).sum(-1)
