"""The importance-weighted estimate of log p(x)."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torchmetrics import Metric

from lvexp.data.batch import Batch
from lvexp.distributions.support import ENUMERATED, support
from lvexp.metrics.bound import perplexity
from lvexp.models.base import LatentModel
from lvexp.networks.tail import LEAST, Tail
from lvexp.reading import Reading
from lvexp.shapes import Float, Tensor
from lvexp.terms import Terms


@dataclasses.dataclass(frozen=True)
class Likelihood:
    """Estimates of -log p(x) from K draws, one for each text.

    Attributes:
        nll: the estimate, nats per text, [B].
        error: its standard error, nats: the jackknife's, which is nan for K = 1, and ``tail``. [B]
        effective: effective number of draws, between 1 and those used, (sum w)^2 / sum w^2. [B]
        draws: number of draws used: K, or fewer if a tolerance was met earlier. [B]
        tail: the part of the error that is due to sampled words, nats; 0 if the whole vocabulary was summed. [B]
    """

    nll: Float[Tensor, " B"]
    error: Float[Tensor, " B"]
    effective: Float[Tensor, " B"]
    draws: Float[Tensor, " B"]
    tail: Float[Tensor, " B"]


#: number of draws for each text in a round, at least; a tolerance is checked after each round
ROUND = 32
#: number of draws for each text in a round on other devices than a CPU, where they are drawn at once
TOGETHER = 128
#: number of tokens that the decoder scores at once: on a CPU few enough for its cache, elsewhere enough to keep it busy
POSITIONS, ELSEWHERE = 2**13, 2**16
#: number of effective draws below which a text's estimate is biased upward by a tenth of a nat or more
FEW = 10.0
#: one in so many draws, those with the largest weights, is scored with the whole vocabulary if words were sampled
CHECKED = 32


@torch.no_grad()
def importance_weighted(
    model: LatentModel,
    of: Batch | Terms,
    samples: int,
    tolerance: float = 0.0,
    positions: int | None = None,
    words: int | None = None,
) -> Likelihood:
    r"""-log p(x) estimated with K draws from the posterior (Burda et al. 2016, eq. 8), nats per text.

    .. math:: -\log \frac1K \sum_{k=1}^K w_k, \qquad w_k = \frac{p(x|z_k)\, p(z_k)}{q(z_k|x)}, \quad z_k \sim q(z|x)

    In expectation this is an upper bound on -log p(x) that decreases with K; K = 1 gives -ELBO. The decoder scores few
    draws at a time and a weight is a single number, so memory hardly grows with K. The result does not depend on
    ``positions``. Draws come from the global generator.

    The standard error is that of the jackknife (Quenouille 1956; Tukey 1958),

    .. math:: \sqrt{\tfrac{K-1}{K} \sum_k (\ell_{-k} - \bar\ell)^2}, \qquad
              \ell_{-k} = -\log \tfrac{1}{K-1} \sum_{j \ne k} w_j,

    The expectation of its square is at least the variance (Efron & Stein 1981). The delta method's
    :math:`\sqrt{(\overline{w^2}/\bar w^2 - 1)/(K-1)}` agrees with it if the weight is spread over many draws, but it
    cannot exceed 1, and it is half the true error if a few draws dominate. Neither error includes the bias of the
    bound, which is about half the squared error and becomes larger than the error if a few draws dominate: see
    :data:`FEW`.

    With a ``tolerance``, drawing for a text stops once its error is no larger, which is checked every :data:`ROUND`
    draws. The mean of the weights is then no longer unbiased: drawing tends to stop before a large weight has come up,
    so the estimate is biased upward, usually by less than the tolerance. For comparisons with published figures, do not
    use a tolerance.

    With ``words``, the output layer sums over so many words (:class:`lvexp.networks.tail.Tail`). The draws
    with the largest weights, one in :data:`CHECKED`, are then scored with all of it, and their weights replaced. With
    :math:`d_k` what that changes their log weights by, and r the share of the other draws in the sum of the weights,
    the error of a text is :math:`r \sqrt{\overline{d^2}}`.

    Args:
        model: in evaluation mode, with a prior.
        of: the texts, or their terms if they are already known.
        samples: K, at least 1.
        tolerance: standard error of a text, in nats, at which it needs no more draws; with 0 every text gets K draws.
        positions: number of tokens (draws x texts x T) that the decoder scores at once; at least one draw of one text.
            None for :data:`POSITIONS`, on other devices than a CPU :data:`ELSEWHERE`.
        words: number of words in a sum over the vocabulary, half of them sampled; None for all. Not with a tolerance.
    """
    batch = of.batch if isinstance(of, Terms) else of
    reading = of.reading if isinstance(of, Terms) else model.read(of)
    params = of.params if isinstance(of, Terms) else model.params(reading)
    q, p = model.latent.posterior(params), model.latent.prior(reading.condition)
    assert p is not None, "without a prior there is no likelihood"
    assert not (tolerance and words), "with a tolerance too few draws are scored at once for sampled words to pay"
    nll, error, effective, used, tail = torch.zeros(5, len(batch), dtype=torch.float64, device=params.device)
    left = torch.arange(len(batch), device=params.device)  # texts that need more draws
    drawn: list[Tensor] = []  # log weights of these, all rounds
    on_cpu, positions = params.device.type == "cpu", _at_once(params, positions)
    several = max(ROUND, positions // batch.tokens.numel()) if on_cpu else TOGETHER
    size = ROUND if tolerance else samples if words else several
    for start in range(0, samples, size):
        # for all texts, so that the random numbers do not depend on which texts are still scored; one by one, or in
        # groups of a fixed size, so that they do not depend on `positions`
        draws = min(size, samples - start)
        value = torch.stack([q.sample() for _ in range(draws)]) if on_cpu else q.sample(torch.Size((draws,)))
        log_q, log_prior = q.log_prob(value).double(), p.log_prob(value).double()
        ratio, code = (log_prior - log_q)[:, left], model.latent.code(value)[:, left]
        if words:
            log_p, tail = _sampled(model, batch, reading, code, ratio, positions, words)
        else:
            log_p = _scored(model, batch[left], reading[left], code, positions).double()
        drawn.append(log_p + ratio)
        if tolerance or start + size >= samples:
            log_w = torch.cat(drawn)
            total = log_w.logsumexp(0)
            nll[left], used[left] = math.log(len(log_w)) - total, float(len(log_w))
            error[left] = (_jackknife(log_w).square() + tail[left].square()).sqrt()
            effective[left] = (2 * total - (2 * log_w).logsumexp(0)).exp()
            more = error[left] > tolerance
            left, drawn = left[more], [log_w[:, more]]
            if not len(left):
                break
    return Likelihood(nll, error, effective, used, tail)


@torch.no_grad()
def marginal(
    model: LatentModel, batch: Batch, reading: Reading | None = None, positions: int | None = None
) -> Float[Tensor, " B"]:
    r"""The exact -log p(x) for a z with finitely many values, nats per text: :math:`-\log \sum_z p(z)\, p(x|z)`.

    It costs one decoder pass for each value of z, the same as that many draws.

    Args:
        model: in evaluation mode, with a discrete z.
        batch: the texts. reading: of the texts, if they were read already.
        positions: as in :func:`importance_weighted`.
    """
    reading = model.read(batch) if reading is None else reading
    p = model.latent.prior(reading.condition)
    assert p is not None, "without a prior there is no likelihood"
    value = support(p.expand(torch.Size((len(batch),))))
    code = model.latent.code(value)
    log_p = _scored(model, batch, reading, code, _at_once(code, positions))
    return -(log_p.double() + p.log_prob(value).double()).logsumexp(0)


def countable(model: LatentModel) -> bool:
    """Whether :func:`marginal` is feasible: z has at most :data:`~lvexp.distributions.support.ENUMERATED` values."""
    return (model.latent.configurations or math.inf) <= ENUMERATED


def _at_once(there: Tensor, positions: int | None) -> int:
    """Number of tokens to be scored at once on the device of a tensor."""
    return positions or (POSITIONS if there.device.type == "cpu" else ELSEWHERE)


def _scored(
    model: LatentModel, batch: Batch, reading: Reading, code: Float[Tensor, "S B W"], positions: int
) -> Float[Tensor, "S B"]:
    """log p(x|z) in pieces of at most ``positions`` tokens: all draws of a few texts of similar length. Draws of
    the same text share what a decoder computes from its words."""
    left, found = batch.lengths.argsort(descending=True, stable=True), code.new_empty(code.shape[:2])
    while len(left):
        length = int(batch.lengths[left[0]])
        draws = max(1, min(len(code), positions // length))
        pieces = math.ceil(len(left) / max(1, positions // (length * draws)))
        part, left = left.split([rows := math.ceil(len(left) / pieces), len(left) - rows])
        texts, read = batch[part].trimmed(), reading[part]
        scored = [model.log_likelihood(texts, read, some[:, part]) for some in code.split(draws)]
        found[:, part] = torch.cat(scored).to(found.dtype)
    return found


def _sampled(
    model: LatentModel,
    batch: Batch,
    reading: Reading,
    code: Float[Tensor, "S B W"],
    ratio: Float[Tensor, "S B"],
    positions: int,
    words: int,
) -> tuple[Float[Tensor, "S B"], Float[Tensor, " B"]]:
    """log p(x|z), with sampled words but for the draws of the largest weights, and the error of each text; ``ratio`` is
    log p(z) - log q(z|x)."""
    with Tail(words).active():  # which needs many draws at once, even of a long text
        log_p = _scored(model, batch, reading, code, max(positions, 2 * LEAST * int(batch.lengths.max()))).double()
    best = (log_p + ratio).topk(math.ceil(len(code) / CHECKED), 0).indices
    theirs = code.gather(0, best[..., None].expand(*best.shape, code.shape[-1]))
    exact = _scored(model, batch, reading, theirs, positions).double()
    wrong = (log_p.gather(0, best) - exact).square().mean(0).sqrt()
    log_p = log_p.scatter(0, best, exact)
    rest = 1 - (log_p + ratio).softmax(0).gather(0, best).sum(0)
    return log_p, rest.clamp(min=0) * wrong


def _jackknife(log_w: Float[Tensor, "K B"]) -> Float[Tensor, " B"]:
    """The standard error of log mean w, from the K estimates that each leave one draw out; nan for one draw."""
    draws = len(log_w)
    if draws == 1:
        return torch.full_like(log_w[0], math.nan)
    total = log_w.logsumexp(0, keepdim=True)
    without = torch.log1p(-(log_w - total).exp())
    # if one draw has nearly all of the weight, 1 minus its share is only rounding error; sum the other weights instead
    largest = log_w.argmax(0, keepdim=True)
    rest = log_w.scatter(0, largest, -math.inf).logsumexp(0, keepdim=True)
    return (without.scatter(0, largest, rest - total).var(0, correction=0) * (draws - 1)).sqrt()


class ImportanceWeighted(Metric):
    r""":func:`importance_weighted` over a set of texts.

    ``compute`` returns a dict of

    - ``nll_iw``: mean over texts, nats per text;
    - ``nll_iw_se``: :math:`\sqrt{\sum_i s_i^2} / N`, the Monte-Carlo standard error of that mean, from the errors s_i
      of the N texts: how much it would vary between seeds. It measures neither the spread of texts about their mean
      nor the variation between test sets, and it excludes the bias of the bound. None for K = 1;
    - ``ppl_iw``: :func:`lvexp.metrics.bound.perplexity` computed from it;
    - ``iw_tail_se``: the part of that error that is due to sampled words; None if the whole vocabulary was summed;
    - ``iw_samples``: K;
    - ``iw_draws``: number of draws used, mean over texts: K, or fewer with a tolerance;
    - ``iw_effective``: effective number of draws, mean over texts; near 1, a single draw dominates;
    - ``iw_few``: share of texts with fewer than :data:`FEW` effective draws. More draws would lower their NLL by more
      than the standard error suggests.

    Args:
        samples: K.
        tolerance, positions, words: as in :func:`importance_weighted`.
        more: options of every ``torchmetrics.Metric``.

    Attributes:
        last: the estimate for each text of the last batch, [B].
    """

    full_state_update = False
    last: Tensor | None = None
    nats: Tensor
    variance: Tensor
    tail: Tensor
    effective: Tensor
    draws: Tensor
    few: Tensor
    sentences: Tensor
    tokens: Tensor

    def __init__(
        self, samples: int = 100, tolerance: float = 0.0, positions: int = 2**13, words: int | None = None, **more: Any
    ):
        super().__init__(**more)
        self.samples, self.tolerance, self.positions, self.words = samples, tolerance, positions, words
        for name in ("nats", "variance", "tail", "effective", "draws"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("few", "sentences", "tokens"):
            self.add_state(name, torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, model: LatentModel, of: Batch | Terms) -> None:
        found = importance_weighted(model, of, self.samples, self.tolerance, self.positions, self.words)
        batch = of.batch if isinstance(of, Terms) else of
        self.last = found.nll
        self.nats = self.nats + found.nll.sum()
        self.variance = self.variance + found.error.square().sum()
        self.tail = self.tail + found.tail.square().sum()
        self.effective = self.effective + found.effective.sum()
        self.draws = self.draws + found.draws.sum()
        self.few = self.few + (found.effective < FEW).sum()
        self.sentences = self.sentences + len(batch)
        self.tokens = self.tokens + batch.predicted()

    def compute(self) -> dict[str, Any]:
        sentences, error = int(self.sentences), float(self.variance.sqrt()) / int(self.sentences)
        return {
            "nll_iw": float(self.nats) / sentences,
            "nll_iw_se": error if math.isfinite(error) else None,
            "iw_tail_se": float(self.tail.sqrt()) / sentences if self.words else None,
            "ppl_iw": perplexity(float(self.nats), int(self.tokens)),
            "iw_samples": self.samples,
            "iw_draws": float(self.draws) / sentences,
            "iw_effective": float(self.effective) / sentences,
            "iw_few": int(self.few) / sentences,
        }
