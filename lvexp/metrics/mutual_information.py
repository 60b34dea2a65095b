"""The information that z carries about x."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch.distributions import Distribution, Independent, Normal
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lvexp.distributions.support import ENUMERATED, configurations, support
from lvexp.shapes import Float, Int, Shaped, Tensor
from lvexp.terms import Terms

#: numbers in the largest array, 8 MB in float32: with much larger ones a CPU spends most time allocating memory
_NUMBERS = 2**21
_GOLDEN = (math.sqrt(5) - 1) / 2

Posterior = Callable[[Tensor], Distribution]


def mutual_information(
    posterior: Posterior, params: Float[Tensor, "N P"], value: Shaped[Tensor, "N ..."] | None, numbers: int = _NUMBERS
) -> float:
    r"""I_q(x; z) over N texts, in nats, under their aggregate posterior :math:`q(z) = 1/N \sum_j q(z|x_j)`.

    .. math:: \frac1N \sum_i \Big[\log q(z_i|x_i) - \log \frac1N \sum_j q(z_i|x_j)\Big], \quad z_i \sim q(z|x_i)

    (Hoffman & Johnson 2016). The same draw is used in both terms, so their noise cancels, and no term, and hence not
    the mean, can exceed log N: an estimate near log N means that the true value is larger, but not how large. Figures
    for different N are not comparable. The estimate may be slightly below 0.

    Args:
        posterior: q(z|x) from parameters, with a ``log_prob`` that broadcasts.
        params: the parameters of each text's posterior.
        value: one draw from each; None sums over all values instead, as :func:`exact_mutual_information`.
        numbers: numbers in the largest array; at least N x (size of z) for each text.
    """
    if value is None:
        return exact_mutual_information(posterior, params, numbers)
    return float(_each(posterior, params, value[None], numbers).mean())


def _each(
    posterior: Posterior, params: Float[Tensor, "N P"], values: Shaped[Tensor, "M N ..."], numbers: int = _NUMBERS
) -> Float[Tensor, "M N"]:
    """The term of each text in :func:`mutual_information` for each of its draws; it depends on that draw only."""
    q, (draws, texts) = posterior(params), values.shape[:2]
    value, own = values.flatten(0, 1), torch.arange(texts, device=values.device).repeat(draws)[:, None]
    log_density, size = (_gaussian(q), 1) if _is_gaussian(q) else (_any(q), value[0].numel())
    rows = max(1, numbers // (texts * max(1, size)))
    terms = []
    for start in range(0, len(value), rows):
        log_q = log_density(value[start : start + rows])  # [rows, N]
        terms.append(log_q.gather(1, own[start : start + rows])[:, 0] - log_q.logsumexp(1) + math.log(texts))
    return torch.cat(terms).view(draws, texts)


def _any(q: Distribution) -> Callable[[Tensor], Tensor]:
    """log q(z_r|x_n) for every pair; draws [R, ...] to [R, N]."""
    return lambda value: q.log_prob(value.unsqueeze(1)).double()


def _is_gaussian(q: Distribution) -> bool:
    return isinstance(q, Independent) and isinstance(q.base_dist, Normal)


def _gaussian(q: Any) -> Callable[[Tensor], Tensor]:
    """The same by one matrix product, without R x N x D numbers; in 64 bits, so that expanding the square loses no
    precision."""
    mean, precision = q.base_dist.loc.double(), q.base_dist.scale.double().pow(-2)
    linear, square = mean * precision, -precision / 2
    rest = (precision.log() - mean.square() * precision - math.log(2 * math.pi)).sum(-1) / 2
    table = torch.cat([linear, square], -1).T
    return lambda value: torch.addmm(rest, torch.cat([value.double(), value.double().square()], -1), table)


def exact_mutual_information(posterior: Posterior, params: Float[Tensor, "N P"], numbers: int = _NUMBERS) -> float:
    r"""I_q(x; z) over N texts without draws, for a z with finitely many values, in nats.

    .. math:: \frac1N \sum_i \sum_z q(z|x_i) \Big[\log q(z|x_i) - \log \frac1N \sum_j q(z|x_j)\Big]

    It is between 0 and the smaller of log N and the log of the number of values.

    Args:
        posterior: q(z|x) from parameters, with finite support.
        params: the parameters of each text's posterior.
        numbers: in the largest array made.
    """
    values = support(posterior(params[:1]))  # [S, 1, ...]
    rows = max(1, numbers // values.numel())
    log_q = torch.cat([posterior(part).log_prob(values).double() for part in params.split(rows)], 1)  # [S, N]
    q = log_q.exp()
    aggregate = q.mean(1)
    return float(torch.xlogy(q, q).sum(0).mean() - torch.xlogy(aggregate, aggregate).sum())


def minibatch_mutual_information(
    posterior: Posterior,
    params: Float[Tensor, "N P"],
    values: Shaped[Tensor, "M N ..."] | None,
    lengths: Int[Tensor, " N"],
    size: int = 32,
) -> float:
    """The same within groups of ``size`` texts of similar length, averaged over texts: the figure in papers.

    This is reported by He et al. 2019 and by work that uses their code; it cannot exceed log ``size`` (3.47 for 32).
    Their code uses the entropy of q(z|x) in closed form, we use the draw: the two are equal in expectation.

    Args:
        posterior, params: as in :func:`mutual_information`. values: M draws of each text, or None as there.
        lengths: of the texts; groups are formed in order of length, the last may be smaller.
        size: texts in a group.
    """
    order = lengths.argsort(stable=True)
    total = 0.0
    for rows in order.split(size):
        if values is None:
            found = exact_mutual_information(posterior, params[rows])
        else:
            found = float(_each(posterior, params[rows], values[:, rows]).mean())
        total += found * len(rows)
    return total / len(order)


class MutualInformation(Metric):
    r""":func:`mutual_information` and :func:`minibatch_mutual_information` of a stream of texts.

    Exact if z has at most :data:`~lvexp.distributions.support.ENUMERATED` values, otherwise from draws for each text by
    the global generator.

    Of more than ``limit`` texts it keeps ``limit``, spread evenly over the stream, which may be sorted by length.
    ``compute`` returns a dict of ``mi``, ``mi_n`` (texts used), ``mi_exact``, ``mi_batch``, and

    - ``mi_se``: :math:`\sqrt{\sum_i s_i^2 / M} / N`, from the variance :math:`s_i^2` of text i's term over its M draws:
      how much ``mi`` varies with the draws, not with the texts. 0 if it is exact, None for one draw.

    Args:
        posterior: q(z|x) from parameters: ``latent.posterior``.
        limit: the largest number of texts used.
        draws: for all texts together, divided evenly: M is this over N, and at least 2. None means M = 1.
        size: texts in a group of the minibatch figure.
        more: options of every ``torchmetrics.Metric``.
    """

    full_state_update = False
    seen: Tensor
    key: list[Tensor]
    _STORED = ("key", "params", "value", "lengths")

    def __init__(self, posterior: Posterior, limit: int = 5000, size: int = 32, draws: int | None = None, **more: Any):
        super().__init__(**more)
        self.posterior, self.limit, self.size, self.draws = posterior, limit, size, draws
        self.add_state("seen", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        for name in self._STORED:
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, terms: Terms, value: Shaped[Tensor, "B ..."] | None = None) -> None:
        """Takes a batch, and a draw of z for each text, where there is one already."""
        texts = len(terms.batch)
        number = torch.arange(texts, device=self.seen.device) + self.seen
        # the texts with the smallest keys are kept; multiples of the golden ratio fill [0, 1) evenly at any length
        key = (number.double() * _GOLDEN) % 1
        fresh = (key, terms.params.detach(), terms.q.sample() if value is None else value, terms.batch.lengths)
        for name, part in zip(self._STORED, fresh, strict=True):
            getattr(self, name).append(part)
        self.seen = self.seen + texts
        if sum(map(len, self.key)) > 2 * self.limit:
            for name, part in zip(self._STORED, self._kept(), strict=True):
                setattr(self, name, [part])

    def _kept(self) -> list[Tensor]:
        stored = [dim_zero_cat(getattr(self, name)) for name in self._STORED]
        rows = stored[0].argsort()[: self.limit].sort().values
        return [part[rows] for part in stored]

    def compute(self) -> dict[str, Any]:
        _, params, value, lengths = self._kept()
        exact = (configurations(self.posterior(params[:1])) or math.inf) <= ENUMERATED
        values, error = None, 0.0 if exact else None
        if exact:
            information = exact_mutual_information(self.posterior, params)
        else:
            q = self.posterior(params)
            draws = 1 if self.draws is None else max(2, self.draws // len(params))
            values = torch.stack([value, *(q.sample() for _ in range(draws - 1))])
            each = _each(self.posterior, params, values)
            information = float(each.mean())
            if draws > 1:
                error = math.sqrt(float(each.var(0).sum()) / draws) / len(params)
        return {
            "mi": information,
            "mi_se": error,
            "mi_n": len(params),
            "mi_exact": exact,
            "mi_batch": minibatch_mutual_information(self.posterior, params, values, lengths, self.size),
        }
