"""Improves the posterior of each text by gradient steps."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import torch

from lvexp.errors import ConfigError
from lvexp.models.base import LatentModel
from lvexp.regularizers.base import Regularizer
from lvexp.shapes import Float, Tensor

_THROUGH = ("exact", "finite_difference", "none")
Bound = Callable[[Tensor], Float[Tensor, " B"]]


class SemiAmortized(Regularizer):
    r"""Semi-amortised inference (Kim et al. 2018, algorithm 1). Starting from the encoder's parameters λ₀ of each text,

    .. math:: v_{k+1} = m v_k - \mathrm{clip}(\nabla_\lambda L(\lambda_k)),\quad
              \lambda_{k+1} = \lambda_k + \eta\, v_{k+1}, \quad k = 0 … K-1

    where L is the training loss of that text, computed with new draws in each step. All parameters are trained with the
    loss at λ_K. In evaluation L is the true -ELBO, and the bound after the same steps is reported separately
    (``elbo_refined``, ``rate_refined``). All other figures, and the selection of the best parameters, use the encoder
    alone.

    How gradients flow to encoder and decoder through the K steps:

    - ``through=exact``: the derivative of the whole computation, including clipping, by double backward. All K passes
      are kept in memory, and on a CPU it takes three to four times as long as finite differences;
    - ``through=finite_difference``: each product of a Hessian with a vector v is approximated by
      :math:`(\nabla L(\lambda + r v) - \nabla L(\lambda)) / r` with the same draws, as in their released code. Here r
      is such that the text with the largest change moves by ``epsilon``. Their r is 1e-5 for any length of v; if v is
      short, the difference is then lost in the rounding of 32 bits;
    - ``through=none``: the steps count as constants. The encoder gets the gradient at λ_K as if it were taken at λ₀,
      and the decoder only that of the final loss.

    Their loss is the mean over a batch of 32, so their η = 1 corresponds to 1/32 for the loss of a single text. They
    clip the gradients of the whole batch, and also those of the backward pass, which we do not clip. Here the steps of
    a text do not depend on the rest of its batch, unless its loss does (``free_bits.per=batch``).

    Args:
        steps: K.
        lr: η, per nat of a single text's loss.
        momentum: m.
        clip: largest norm of a single text's gradient; 0 for no clipping.
        through: "exact", "finite_difference" or "none".
        epsilon: step length of the finite differences.
    """

    refines = True

    def __init__(
        self,
        steps: int = 20,
        lr: float = 0.03125,
        momentum: float = 0.5,
        clip: float = 5.0,
        through: str = "finite_difference",
        epsilon: float = 1e-3,
    ):
        super().__init__()
        if through not in _THROUGH:
            raise ConfigError(f"regularizer.semi_amortized.through={through}: it is one of {', '.join(_THROUGH)}")
        for name, value, fits, wanted in (
            ("steps", steps, steps >= 1, "at least 1"),
            ("lr", lr, lr > 0, "above 0"),
            ("momentum", momentum, 0 <= momentum < 1, "at least 0 and below 1"),
            ("clip", clip, clip >= 0, "at least 0; 0 clips nothing"),
            ("epsilon", epsilon, epsilon > 0, "above 0"),
        ):
            if not fits:
                raise ConfigError(f"regularizer.semi_amortized.{name}={value}: must be {wanted}")
        self.steps, self.lr, self.momentum, self.clip = steps, lr, momentum, clip
        self.through, self.epsilon = through, epsilon
        self.models: tuple[LatentModel, ...] = ()  # in a tuple, so that the model does not become a submodule

    def attach(self, model: LatentModel) -> None:
        self.models = (model,)

    def refine(self, params: Float[Tensor, "B P"], bound: Bound) -> Float[Tensor, "B P"]:
        learns = torch.is_grad_enabled() and self.through != "none"
        kind = params.device.type
        if torch.is_autocast_enabled(kind):  # differences of 16-bit gradients would be noise
            params = params.float()
        with torch.enable_grad(), torch.autocast(kind, enabled=False), _differentiable(params.device):
            found = self._descend(params if learns else params.detach(), bound, learns)
        return found if learns else params + (found - params).detach()

    def _descend(self, params: Float[Tensor, "B P"], bound: Bound, learns: bool) -> Float[Tensor, "B P"]:
        speed = torch.zeros_like(params)
        for _ in range(self.steps):
            speed = self.momentum * speed - self._clipped(self._slope(params, bound, learns))
            params = params + self.lr * speed
        return params

    def _slope(self, params: Float[Tensor, "B P"], bound: Bound, learns: bool) -> Float[Tensor, "B P"]:
        if learns and self.through == "finite_difference":
            weights = [parameter for model in self.models for parameter in model.parameters()]
            found = _Slope.apply(params, bound, self.epsilon, *weights)
            assert isinstance(found, torch.Tensor)
            return found
        at = params if params.requires_grad else params.detach().requires_grad_()
        return torch.autograd.grad(bound(at).sum(), at, create_graph=learns)[0]

    def _clipped(self, slope: Float[Tensor, "B P"]) -> Float[Tensor, "B P"]:
        if not self.clip:
            return slope
        norm = torch.linalg.vector_norm(slope, dim=-1, keepdim=True)
        return slope * (self.clip / norm.clamp(min=self.clip))


class _Slope(torch.autograd.Function):
    """The gradient of a loss in the posterior's parameters. Its derivative, in these parameters and in the model's
    weights, is a finite difference: it needs one more gradient, at a nearby point with the same random numbers."""

    @staticmethod
    def forward(ctx: Any, params: Tensor, bound: Bound, epsilon: float, *weights: Tensor) -> Tensor:
        ctx.bound, ctx.epsilon, ctx.weights = bound, epsilon, weights
        ctx.cuda = [params.device] if params.device.type == "cuda" else []
        ctx.random = torch.get_rng_state(), [torch.cuda.get_rng_state(device) for device in ctx.cuda]
        found = _gradients(params, bound, weights)
        ctx.save_for_backward(params, *found)
        assert found[0] is not None
        return found[0].clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:  # pyright: ignore
        params, *found = ctx.saved_tensors
        r = ctx.epsilon / torch.linalg.vector_norm(grad, dim=-1).max().clamp(min=1e-30)
        with torch.random.fork_rng(ctx.cuda):
            torch.set_rng_state(ctx.random[0])
            for device, state in zip(ctx.cuda, ctx.random[1], strict=True):
                torch.cuda.set_rng_state(state, device)
            further = _gradients(params + r * grad, ctx.bound, ctx.weights)
        pairs = zip(further, found, strict=True)
        first, *others = [None if new is None or old is None else (new - old) / r for new, old in pairs]
        return (first, None, None, *others)


def _gradients(params: Tensor, bound: Bound, weights: Sequence[Tensor]) -> list[Tensor | None]:
    """The gradients of the summed loss in the parameters and in each weight; None for weights it does not depend on."""
    with torch.enable_grad(), _differentiable(params.device):
        at = params.detach().requires_grad_()
        wanted = [at, *(weight for weight in weights if weight.requires_grad)]
        found = iter(torch.autograd.grad(bound(at).sum(), wanted, allow_unused=True))
        return [next(found), *(next(found) if weight.requires_grad else None for weight in weights)]


def _differentiable(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Disables cuDNN, whose recurrent layers have no second derivative, and no first one outside of training."""
    return torch.backends.cudnn.flags(enabled=False) if device.type == "cuda" else contextlib.nullcontext()
