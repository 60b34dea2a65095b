"""The output layer over the vocabulary and its loss, without ever holding all logits."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F
from torch.autograd.function import FunctionCtx, once_differentiable

from lvexp.shapes import Float, Int, Tensor

#: Logits held at once on a CPU, in numbers: small enough to stay in the cache between the passes over them,
#: large enough for the matrix products to run at full rate (docs/performance.md has the measurements).
CHUNK = 2**22


def token_nll(
    states: Float[Tensor, "N H"], weight: Float[Tensor, "V H"], targets: Int[Tensor, " N"]
) -> Float[Tensor, " N"]:
    r"""-log softmax(states Wᵀ)[targets], nats per token, fused: at most :data:`CHUNK` logits exist at a time.

    For a token with state h, target y and p = softmax(W h): the loss is :math:`\log\sum_v e^{w_v h} - w_y h`, its
    gradients are :math:`(p - 1_y)^\top W` in h and :math:`(p - 1_y) h^\top` in W. Both are computed in the forward
    pass, while the logits are at hand, as if every token weighed 1; the backward pass scales them. That is exact in
    h for any weights, and in W where the weights of all tokens are equal, as in a batch without padding and one
    draw; where they differ (padding, weighted draws) the backward pass computes the logits again.

    First derivatives only: a second backward pass through it raises. Elsewhere than on a CPU, torch's own cross
    entropy is used: there the memory's speed is not what limits.
    """
    if states.device.type != "cpu":
        return F.cross_entropy(F.linear(states, weight), targets, reduction="none")
    # under autocast the states come in half precision, too coarse for a sum over the vocabulary
    return _TokenNLL.apply(states.to(weight.dtype), weight, targets)  # pyright: ignore[reportReturnType]


class _TokenNLL(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        wanted = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        nll = states.new_empty(len(states))
        d_states = torch.empty_like(states) if wanted else None
        d_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        _sweep(states, weight, targets, None, nll, d_states, d_weight)
        ctx.save_for_backward(states, weight, targets, d_states, d_weight)
        return nll

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # pyright: ignore
        states, weight, targets, d_states, d_weight = ctx.saved_tensors  # pyright: ignore
        if d_weight is not None:
            if len(grad) and bool((grad == grad[0]).all()):
                d_weight = d_weight * grad[0]
            else:
                d_weight = torch.zeros_like(weight)
                _sweep(states, weight, targets, grad, None, None, d_weight)
        return d_states * grad[:, None], d_weight, None


def _sweep(
    states: Tensor, weight: Tensor, targets: Tensor, scale: Tensor | None,
    nll: Tensor | None, d_states: Tensor | None, d_weight: Tensor | None,
) -> None:  # fmt: skip
    """Fills the outputs that are given, chunk by chunk; ``scale`` weighs the tokens in ``d_weight``."""
    rows = max(1, CHUNK // len(weight))
    buffer = states.new_empty(min(rows, len(states)), len(weight))
    for at in range(0, len(states), rows):
        part = slice(at, at + rows)
        x, y = states[part], targets[part, None]
        logits = torch.mm(x, weight.T, out=buffer[: len(x)])
        true = logits.gather(1, y)
        top = logits.amax(1, keepdim=True)
        if d_states is None and d_weight is None:
            nll[part] = (logits.sub_(top).exp_().sum(1, keepdim=True).log() + top - true)[:, 0]
            continue
        p = torch.softmax(logits, 1, out=logits)
        if nll is not None:
            # p at the top is at least 1/V: log-sum-exp = top - log p(top) loses nothing, where log p(true) might
            nll[part] = (top - p.amax(1, keepdim=True).log() - true)[:, 0]
        p.scatter_add_(1, y, torch.full_like(true, -1))
        if d_states is not None:
            torch.mm(p, weight, out=d_states[part])
        if d_weight is not None:
            d_weight.addmm_((p if scale is None else p * scale[part, None]).T, x)
