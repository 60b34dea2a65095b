"""Sums over the vocabulary in which unlikely words are sampled, for many draws of z that predict the same tokens."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

import torch

from lvexp.networks.output import SAFE, product, text_log_p
from lvexp.shapes import Float, Int, Tensor

#: draws of z that are evaluated over the whole vocabulary, to tell likely words from unlikely ones
REFERENCES = 8
#: with fewer draws of z the whole vocabulary is no slower
LEAST = 64
_ACTIVE: contextvars.ContextVar[Tail | None] = contextvars.ContextVar("tail", default=None)


class Tail:
    r"""The sum over the vocabulary with its tail sampled (complementary sum sampling, Botev, Zheng & Barber 2017).

    For S states h that predict the same token y under S draws of z, let :math:`\bar p` be the mean of softmax(W h) over
    a few of them. The head are y and the most likely words under :math:`\bar p`, m in all. The sum over the others, the
    tail, is estimated from m words drawn from q, which is :math:`\bar p` on the tail:

    .. math:: \hat Z(h) = \sum_{v \in \text{head}} e^{h \cdot w_v}
              + \frac1m \sum_{j=1}^m \frac{e^{h \cdot w_{v_j}}}{q(v_j)}

    It is unbiased for Z(h); log Z is too small by half the relative variance of the estimate. The words are drawn
    systematically (one uniform number, m equally spaced quantiles) with a generator of their own, and are the same for
    all draws of z. A word that few draws find likely, and none of the references, is usually missed: p(y|h) is then
    too large for these draws.

    Args:
        words: 2m, the number of words in a sum, at least 2. A smaller vocabulary is summed as a whole.
        seed: of the sampled words.
    """

    def __init__(self, words: int, seed: int = 0):
        self.half = words // 2
        self._random = torch.Generator().manual_seed(seed)

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Within it, every decoder's output layer samples its tail where many draws share a text, on a CPU."""
        token = _ACTIVE.set(self)
        try:
            yield
        finally:
            _ACTIVE.reset(token)

    @torch.no_grad()
    def text_log_p(
        self,
        states: Float[Tensor, "S B T H"],
        weight: Float[Tensor, "V H"],
        targets: Int[Tensor, "B T"],
        lengths: Int[Tensor, " B"],
    ) -> Float[Tensor, "S B"]:
        """As :func:`lvexp.networks.output.text_log_p`."""
        found = []
        for text, length in enumerate((lengths - 1).tolist()):
            own, y = states[:, text, :length], targets[text, :length]
            total = self._sums(own, weight, y)
            if bool(((total > SAFE[0]) & (total < SAFE[1])).all()):
                true = torch.einsum("sth,th->st", own, weight[y])
                found.append((true - total.log()).sum(1))
            else:
                found.append(text_log_p(own[:, None], weight, y[None], lengths[text, None])[:, 0])
        return torch.stack(found, 1)

    def _sums(
        self, states: Float[Tensor, "S T H"], weight: Float[Tensor, "V H"], targets: Int[Tensor, " T"]
    ) -> Float[Tensor, "S T"]:
        size, length = len(weight), len(targets)
        few = states[:: max(1, len(states) // REFERENCES)][:REFERENCES]
        p = product(few.flatten(0, 1), weight).softmax(1).view(len(few), length, size).mean(0)
        head = p.scatter(1, targets[:, None], 1.0).topk(self.half).indices
        below = p.scatter_(1, head, 0.0).cumsum(1)
        mass = below[:, -1:]
        # in (0, 1]: at 0 the first word would be found, which may be in the head
        places = (torch.arange(self.half) + 1 - torch.rand(length, 1, generator=self._random)) / self.half
        drawn = torch.searchsorted(below, torch.minimum(places * mass, mass))
        q = p.gather(1, drawn)
        factors = torch.cat([torch.ones_like(q), torch.where(q > 0, mass / (self.half * q), 0.0)], 1)
        words, total = torch.cat([head, drawn], 1), states.new_empty(len(states), length)
        for at in range(length):
            total[:, at] = product(states[:, at], weight[words[at]]).exp_() @ factors[at]
        return total


def scored(
    states: Float[Tensor, "S B T H"],
    weight: Float[Tensor, "V H"],
    targets: Int[Tensor, "B T"],
    lengths: Int[Tensor, " B"],
) -> Float[Tensor, "S B"]:
    """:func:`lvexp.networks.output.text_log_p`, or its estimate within :meth:`Tail.active`."""
    tail = _ACTIVE.get()
    if tail is None or len(states) < LEAST or len(weight) <= 2 * tail.half or states.device.type != "cpu":
        return text_log_p(states, weight, targets, lengths)
    return tail.text_log_p(states, weight, targets, lengths)
