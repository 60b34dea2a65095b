"""log p(x) of points in the plane: by quadrature over z, and estimated from draws of the prior or of q(z|x)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import torch
from torch.distributions import Distribution

from lvexp.data.batch import Batch
from lvexp.models.toy import ToyModel
from lvexp.shapes import Float, Tensor

_ROWS = 4  # of the grid at a time; even, so that every second row of the grid is every second row of a part
_BOX, _MARGIN = 10_000, 2.0
_CHUNK = 2**9  # draws from q(z|x) at a time


@dataclasses.dataclass(frozen=True)
class Quadrature:
    """Integrals over a grid of z.

    Attributes:
        log_p: log p(x), nats, [N].
        variance: of p(x|z) / p(x) for z from the prior, [N]: the relative variance of one draw.
        error: the largest difference, nats, to log p(x) on a grid with half as many values in each dimension.
    """

    log_p: Float[Tensor, " N"]
    variance: Float[Tensor, " N"]
    error: float


@torch.no_grad()
def quadrature(model: ToyModel, x: Float[Tensor, "N F"], side: int = 801) -> Quadrature:
    r"""log p(x) = log ∫ p(x|z) p(z) dz by the trapezoidal rule on a grid of ``side`` × ``side`` values of a z in two
    dimensions. The integrand vanishes at the edge, and the rule then converges faster than any power of the step
    (Trefethen & Weideman 2014). The grid covers 10,000 draws of the prior and 2 on each side of them; for N(0, I) it is
    about [-6, 6] in each dimension.
    """
    prior = model.latent.prior()
    assert prior is not None, "the configuration requires a rate"
    draws = prior.sample(torch.Size((_BOX,)))
    low, high = draws.amin(0) - _MARGIN, draws.amax(0) + _MARGIN
    axes = [torch.linspace(float(a), float(b), side, device=x.device) for a, b in zip(low, high, strict=True)]
    cell = math.log(float(axes[0][1] - axes[0][0]) * float(axes[1][1] - axes[1][0]))
    total, half, square = torch.full((3, len(x)), -math.inf, dtype=torch.float64, device=x.device)
    for start in range(0, side, _ROWS):
        z = torch.stack(torch.meshgrid(axes[0][start : start + _ROWS], axes[1], indexing="ij"), -1)
        log_p = model.log_p(x, z.flatten(0, 1)).double().unflatten(0, z.shape[:2])
        prior_p = prior.log_prob(z).double()[..., None]
        joint = log_p + prior_p
        total = torch.logaddexp(total, joint.flatten(0, 1).logsumexp(0))
        half = torch.logaddexp(half, joint[::2, ::2].flatten(0, 1).logsumexp(0))
        square = torch.logaddexp(square, (joint + log_p).flatten(0, 1).logsumexp(0))
    found = total + cell
    error = float((half + cell + math.log(4) - found).abs().max())
    return Quadrature(found, (square + cell - 2 * found).exp() - 1, error)


@torch.no_grad()
def from_prior(model: ToyModel, x: Float[Tensor, "N F"], draws: int) -> Float[Tensor, "M N"]:
    """log p(x|z) for draws of z from the prior, the same for all points; the mean of p(x|z) is p(x)."""
    prior = model.latent.prior()
    assert prior is not None, "the configuration requires a rate"
    z = prior.sample(torch.Size((draws,)))
    return torch.cat([model.log_p(x, part) for part in z.split(_CHUNK * 8)]).double()


@torch.no_grad()
def from_posterior(model: ToyModel, batch: Batch, q: Distribution, draws: int) -> Float[Tensor, "M N"]:
    """log p(x, z) / q(z|x) for draws of z from q(z|x); the mean of the weights is p(x)."""
    prior = model.latent.prior()
    assert prior is not None, "the configuration requires a rate"
    reading, found = model.read(batch), []
    for start in range(0, draws, _CHUNK):
        z = q.sample(torch.Size((min(_CHUNK, draws - start),)))
        log_p = model.log_likelihood(batch, reading, model.latent.code(z))
        found.append(log_p.double() + prior.log_prob(z).double() - q.log_prob(z).double())
    return torch.cat(found)


@dataclasses.dataclass(frozen=True)
class Estimates:
    """Estimates of log p(x) from n draws, over repetitions and points.

    Attributes:
        draws: n. mean: of the estimates, nats per point. error: their root mean squared error, nats.
    """

    draws: int
    mean: float
    error: float


def estimates(log_w: Float[Tensor, "M N"], log_p: Float[Tensor, " N"], numbers: Sequence[int]) -> Iterator[Estimates]:
    """log of the mean of n weights, for each n: the draws are divided into M / n repetitions."""
    for number in numbers:
        kept = log_w[: len(log_w) // number * number]
        found = kept.unflatten(0, (-1, number)).logsumexp(1) - math.log(number)
        yield Estimates(number, float(found.mean()), float((found - log_p).square().mean().sqrt()))


def relative_variance(log_w: Float[Tensor, "M N"], log_p: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Of one weight: E[(w / p(x))²] - 1."""
    return (2 * (log_w - log_p)).logsumexp(0).sub(math.log(len(log_w))).exp() - 1
