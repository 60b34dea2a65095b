"""The output layer over the vocabulary and its loss, computed without holding all logits at once."""

from __future__ import annotations

import functools
import math
import platform
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from lvexp.shapes import Float, Int, Tensor

#: How many logits are held at once on a CPU. This bounds the memory; each additional chunk costs a pass over the weight
#: and its gradient (measured: docs/performance.md).
CHUNK = 2**22
#: of how many tokens at least
ROWS = 2**8
#: how many logits are held at once on other devices where no gradient is needed
ELSEWHERE = 2**26
#: rows and columns of the logits that exist at once where no gradient is needed: few enough to stay in the cache
BLOCK = (2**9, 2**10)
#: below this probability -log p is inaccurate in 32 bits, and is computed from the logits
_SMALL = 1e-30
#: between these a sum of exponentials is accurate in 32 bits, even if its smallest terms underflow
SAFE = (1e-20, 1e30)


def token_nll(
    states: Float[Tensor, "N H"], weight: Float[Tensor, "V H"], targets: Int[Tensor, " N"]
) -> Float[Tensor, " N"]:
    r"""-log softmax(states Wᵀ)[targets], nats per token, fused: at most :data:`CHUNK` logits exist at a time.

    For a token with state h, target y and p = softmax(W h), the loss is :math:`-\log p_y`; its gradients are
    :math:`(p - 1_y)^\top W` in h and :math:`(p - 1_y) h^\top` in W. Both are computed in the forward pass, when p is
    available, as if every token had weight 1; the backward pass scales them. The gradient in h is then exact for any
    weights, and the gradient in W is exact if all tokens have the same weight, as in a batch with one draw and no
    padding. If the weights differ (padding, weighted draws), the backward pass goes through the chunks again.

    Without gradients :math:`\log \sum_v \exp(h \cdot w_v)` is summed up block by block (:data:`BLOCK`), without
    subtracting the largest logit unless the sum is extreme, and :math:`h \cdot w_y` is a product of its own.

    If a second derivative is requested (``create_graph=True``), the backward pass is torch's own cross entropy, which
    holds all logits. On other devices than a CPU the forward pass is torch's too, because memory bandwidth is not the
    bottleneck there; without gradients at most :data:`ELSEWHERE` logits exist at a time.
    """
    if states.device.type != "cpu":
        return _torch(states, weight, targets)
    low = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else weight.dtype
    with torch.autocast("cpu", enabled=False):
        if not torch.is_grad_enabled() or not (states.requires_grad or weight.requires_grad):
            return _value(states, weight, targets, low)
        return _TokenNLL.apply(states, weight, targets, low)  # pyright: ignore[reportReturnType]


def text_log_p(
    states: Float[Tensor, "S B T H"],
    weight: Float[Tensor, "V H"],
    targets: Int[Tensor, "B T"],
    lengths: Int[Tensor, " B"],
) -> Float[Tensor, "S B"]:
    """log p of each text under each draw, nats, from the states that predict its tokens; padding never counts.

    ``lengths`` include ``<bos>``, which is not predicted.
    """
    draws, texts, length = states.shape[:3]
    mask = torch.arange(1, length + 1, device=lengths.device) < lengths[:, None]
    if states.device.type == "cpu" and not bool(mask.all()):  # the output layer costs more than to look for padding
        own = mask.flatten().nonzero()[:, 0]
        nll = token_nll(
            states.flatten(1, 2)[:, own].flatten(0, 1), weight, targets.flatten()[own].repeat(draws)
        )  # fmt: skip
        text = own.div(length, rounding_mode="floor")
        return -nll.new_zeros(draws, texts).index_add(1, text, nll.view(draws, -1))
    nll = token_nll(states.flatten(0, 2), weight, targets.repeat(draws, 1).flatten())
    return -(nll.view(draws, texts, length) * mask).sum(-1)


def _torch(states: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """The loss of each token by torch's own cross entropy."""
    graph = torch.is_grad_enabled() and (states.requires_grad or weight.requires_grad)
    rows = max(1, len(states) if graph else ELSEWHERE // len(weight))
    parts = zip(states.split(rows), targets.split(rows), strict=True)
    return torch.cat([F.cross_entropy(F.linear(x, weight), y, reduction="none") for x, y in parts])


def _value(states: Tensor, weight: Tensor, targets: Tensor, low: torch.dtype) -> Tensor:
    """The loss of each token without gradients."""
    x, w = states.detach().to(low), weight.detach().to(low)
    nll = weight.new_empty(len(states))
    for at in range(0, len(x), BLOCK[0]):
        part = slice(at, at + BLOCK[0])
        rows, y = x[part], targets[part]
        total = nll.new_zeros(len(rows))
        scaled = (states.detach()[part] * math.log2(math.e)).to(low)  # exp2 takes a third of the time of exp on a CPU
        for words in w.split(BLOCK[1]):
            total += product(scaled, words).to(weight.dtype).exp2_().sum(1)
        true = (rows.to(weight.dtype) * weight.detach()[y]).sum(1)
        torch.sub(total.log(), true, out=nll[part])
        unsafe = ~((total > SAFE[0]) & (total < SAFE[1]))  # a nan is not safe either
        if bool(unsafe.any()):
            logits = product(rows[unsafe], w).to(weight.dtype)
            nll[part][unsafe] = F.cross_entropy(logits, y[unsafe], reduction="none")
    return nll


class _TokenNLL(torch.autograd.Function):
    """Computes matrix products in the type ``low``, the softmax and the loss in the weight's own type."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, targets: Tensor, low: torch.dtype) -> Tensor:
        ctx.low = low
        nll, d_states, d_weight = _sweep(states, weight, targets, low, *ctx.needs_input_grad[:2])
        ctx.save_for_backward(states, weight, targets, d_states, d_weight)
        return nll

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        states, weight, targets, d_states, d_weight = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient will be differentiated again
            nll = F.cross_entropy(F.linear(states, weight), targets, reduction="none")
            wanted = [tensor for tensor, need in zip((states, weight), ctx.needs_input_grad, strict=False) if need]
            found = iter(torch.autograd.grad(nll, wanted, grad, create_graph=True))
            return (*(next(found) if need else None for need in ctx.needs_input_grad[:2]), None, None)
        if d_states is not None:
            d_states = d_states * grad[:, None].to(d_states.dtype)
        if d_weight is not None:
            scale = grad.new_ones(()) if not len(grad) else grad[0]
            if not bool((grad == scale).all()):
                scale = scale.new_ones(())
                _, _, d_weight = _sweep(states, weight, targets, ctx.low, False, True, grad)
                assert d_weight is not None
            d_weight = torch.mul(d_weight.T, scale, out=torch.empty_like(weight))
        return d_states, d_weight, None, None


def _sweep(
    states: Tensor, weight: Tensor, targets: Tensor, low: torch.dtype, need_states: bool, need_weight: bool,
    scale: Tensor | None = None,
) -> tuple[Tensor, Tensor | None, Tensor | None]:  # fmt: skip
    """The loss of each token and, if needed, the gradient in ``states`` and the transposed gradient in ``weight``;
    ``scale`` weights the tokens in the latter."""
    rows = max(ROWS, CHUNK // len(weight))
    x, w = states.to(low), weight.to(low)
    nll = weight.new_empty(len(states))
    d_states = torch.empty_like(states) if need_states else None
    d_weight = None
    # for oneDNN, transposing the weight once is faster than a slower product for every chunk; multiplying by 1 is a
    # copy that runs on all cores
    turned = torch.mul(w.T, 1, out=w.new_empty(w.shape[1], w.shape[0])) if need_states and _onednn(w.dtype) else w.T
    for at in range(0, len(states), rows):
        part = slice(at, at + rows)
        logits = product(x[part], w).to(weight.dtype)
        y = targets[part, None]
        p = torch.softmax(logits, 1, out=logits)
        true = p.gather(1, y)
        nll[part] = -true.log()[:, 0]
        if bool((true < _SMALL).any()):
            rare = (true[:, 0] < _SMALL).nonzero()[:, 0]
            exact = product(x[part][rare], w).to(weight.dtype)
            nll[part][rare] = F.cross_entropy(exact, targets[part][rare], reduction="none")
        p.scatter_add_(1, y, torch.full_like(true, -1))
        if d_states is not None:
            d_states[part] = product(p.to(low), turned)
        if need_weight:
            p = p if scale is None else p.mul_(scale[part, None])
            if d_weight is not None and low == weight.dtype and not _onednn(low):
                d_weight.addmm_(x[part].T, p)
            else:
                fresh = product(x[part].T.contiguous(), p.to(low).T).to(weight.dtype)
                d_weight = fresh if d_weight is None else d_weight.add_(fresh)
    if need_weight and d_weight is None:
        d_weight = weight.new_zeros(weight.shape[1], weight.shape[0])
    return nll, d_states, d_weight


def product(a: Float[Tensor, "M K"], b: Float[Tensor, "N K"]) -> Float[Tensor, "M N"]:
    """a bᵀ, in 32 bits by the faster library of this CPU: oneDNN, which on AMD's is up to 1.8 times as fast as torch's
    default, MKL; on Intel's MKL, which is up to 1.6 times as fast there (docs/performance.md)."""
    if _onednn(a.dtype):
        return torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")  # pyright: ignore
    return torch.mm(a, b.T)


def _onednn(kind: torch.dtype) -> bool:
    return (
        kind == torch.float32
        and torch.backends.mkldnn.is_available()
        and torch.backends.mkldnn.enabled
        and not _intel()
    )


@functools.cache
def _intel() -> bool:
    """Whether torch has MKL and the CPU is one of those that it is written for."""
    found = Path("/proc/cpuinfo")
    name = found.read_text(encoding="utf-8", errors="replace") if found.exists() else platform.processor()
    return torch.backends.mkl.is_available() and "GenuineIntel" in name
