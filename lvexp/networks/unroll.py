"""A recurrent layer step by step, given the inputs' part of the gates."""

from __future__ import annotations

import torch

from lvexp.networks.output import product
from lvexp.shapes import Float, Tensor


def unroll(
    gates: Float[Tensor, "N T G"],
    hidden: Float[Tensor, "N H"],
    cell: Float[Tensor, "N H"] | None,
    weight: Float[Tensor, "G H"],
    bias: Float[Tensor, " G"],
) -> Float[Tensor, "N T H"]:
    """The states of torch's LSTM (G = 4H, with a ``cell``) or GRU (G = 3H), given the inputs' part of the gates.

    It writes in place and so supports no gradients. On a CPU, with hundreds of rows, it takes two thirds of the time
    of torch's own layers (docs/performance.md); for a training batch it is no faster.
    """
    out = gates.new_empty(*gates.shape[:2], hidden.shape[1])
    for step in range(gates.shape[1]):
        own = product(hidden, weight).add_(bias)
        if cell is not None:
            own.add_(gates[:, step])
            input_, forget, fresh, output = own.chunk(4, 1)
            cell = torch.mul(forget.sigmoid_(), cell).addcmul_(input_.sigmoid_(), fresh.tanh_())
            hidden = output.sigmoid_() * cell.tanh()
        else:
            given = gates[:, step]
            width = 2 * hidden.shape[1]
            reset, update = own[:, :width].add_(given[:, :width]).sigmoid_().chunk(2, 1)
            fresh = torch.addcmul(given[:, width:], reset, own[:, width:]).tanh_()
            hidden = torch.lerp(fresh, hidden, update)
        out[:, step] = hidden
    return out
