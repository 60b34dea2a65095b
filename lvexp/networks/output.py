"""The output layer over the vocabulary and its loss, without ever holding all logits."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from lvexp.shapes import Float, Int, Tensor

#: Logits held at once on a CPU, in numbers. It bounds the memory; small chunks are slow, since each one adds a pass
#: over the whole gradient of the weight.
CHUNK = 2**23


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
    low = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else weight.dtype
    with torch.autocast("cpu", enabled=False):
        return _TokenNLL.apply(states, weight, targets, low)  # pyright: ignore[reportReturnType]


class _TokenNLL(torch.autograd.Function):
    """Matrix products in the type ``low``; sums over the vocabulary and the loss in the weight's own type."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, targets: Tensor, low: torch.dtype) -> Tensor:
        nll = weight.new_empty(len(states))
        d_states = torch.empty_like(states) if ctx.needs_input_grad[0] or ctx.needs_input_grad[1] else None
        d_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        _sweep(states.to(low), weight.to(low), targets, None, nll, d_states, d_weight)
        ctx.save_for_backward(states, weight, targets, d_states, d_weight)
        ctx.low = low
        return nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:  # pyright: ignore
        states, weight, targets, d_states, d_weight = ctx.saved_tensors
        if d_weight is not None:
            if len(grad) and bool((grad == grad[0]).all()):
                d_weight = d_weight * grad[0]
            else:
                d_weight = torch.zeros_like(weight)
                _sweep(states.to(ctx.low), weight.to(ctx.low), targets, grad, None, None, d_weight)
        return d_states * grad[:, None].to(d_states.dtype), d_weight, None, None


def _sweep(
    states: Tensor, weight: Tensor, targets: Tensor, scale: Tensor | None,
    nll: Tensor | None, d_states: Tensor | None, d_weight: Tensor | None,
) -> None:  # fmt: skip
    """Fills the outputs that are given, chunk by chunk; ``scale`` weighs the tokens in ``d_weight``."""
    rows = max(1, CHUNK // len(weight))
    exact = weight.dtype in (torch.float32, torch.float64)
    buffer = torch.empty(min(rows, len(states)), len(weight), dtype=weight.dtype if exact else torch.float32)
    for at in range(0, len(states), rows):
        part = slice(at, at + rows)
        x, y = states[part], targets[part, None]
        logits = buffer[: len(x)]
        if exact:
            torch.mm(x, weight.T, out=logits)
        else:
            logits.copy_(torch.mm(x, weight.T))
        true = logits.gather(1, y)
        top = logits.amax(1, keepdim=True)
        if nll is not None and d_states is None and d_weight is None:
            nll[part] = (logits.sub_(top).exp_().sum(1, keepdim=True).log() + top - true)[:, 0]
            continue
        p = torch.softmax(logits, 1, out=logits)
        if nll is not None:
            # p at the top is at least 1/V: log-sum-exp = top - log p(top) loses nothing, where log p(true) might
            nll[part] = (top - p.amax(1, keepdim=True).log() - true)[:, 0]
        p.scatter_add_(1, y, torch.full_like(true, -1))
        if d_states is not None:
            d_states[part] = torch.mm(p.to(weight.dtype), weight)
        if d_weight is not None:
            p = p if scale is None else p.mul_(scale[part, None])
            if exact:
                d_weight.addmm_(p.T, x)
            else:
                d_weight += torch.mm(p.to(weight.dtype).T, x)
