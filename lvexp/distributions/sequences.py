"""Sequences of discrete symbols, spoken one after the other."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch.nn import functional as F

from lvexp.distributions.composed import Composed
from lvexp.draws import Draw, expect
from lvexp.shapes import Float, Shaped, Tensor

#: the largest number of sequences that are enumerated
MOST = 4096


@runtime_checkable
class Policy(Protocol):
    """What speaks a sequence: p(z_t | z_1 … z_t-1) of each symbol, given the parameters.

    Attributes:
        length: L, the largest number of symbols. size: K, number of symbols, with that which ends a sequence.
        sizes: number of symbols of each who speaks, in turn; those of one who has fewer than K are the first.
        end: index of the symbol that ends a sequence; None if all have L symbols.
        least: number of symbols before which none ends.
    """

    length: int
    size: int
    sizes: tuple[int, ...]
    end: int | None
    least: int

    def start(self, params: Float[Tensor, "N P"]) -> Any:
        """The state before the first symbol."""

    def speak(self, state: Any) -> Float[Tensor, "N K"]:
        """log p of the next symbol; large and negative, but finite, for one that cannot come."""
        ...

    def listen(self, symbol: Float[Tensor, "N K"], state: Any) -> Any:
        """The state after the next symbol, which is one-hot or a mixture."""


@dataclasses.dataclass(frozen=True)
class Walk:
    """A sequence, symbol by symbol.

    Attributes:
        value: [N, L, K]. log_p: of all symbols at each step, [N, L, K].
        alive: whether the sequence had not ended before a step, 1 or 0, or in between if it is relaxed, [N, L].
        state: of the policy before it hears the last symbol.
    """

    value: Float[Tensor, "N L K"]
    log_p: Float[Tensor, "N L K"]
    alive: Float[Tensor, "N L"]
    state: Any


class Sequences(Composed):
    r"""z = z_1 … z_n, n ≤ L, with :math:`q(z) = \prod_t q(z_t | z_{<t})`.

    A value is L one-hot vectors of width K, [L, K]. If a symbol ends sequences, it stands at every position after the
    first one too: each sequence is one value, its later positions have probability 1, and the masses of all values sum
    to 1. A sequence of L symbols needs no end.

    A relaxed value is a mixture of symbols at each position: once it has ended with weight w, the rest of it is the end
    with at least that weight. log_prob is linear in the symbol of each step, as in
    :class:`~lvexp.distributions.onehot.OneHot`.

    Args:
        policy: speaks. params: for each text, [*batch, P].
    """

    arg_constraints: ClassVar = {}  # pyright: ignore[reportAssignmentType]

    def __init__(self, policy: Policy, params: Float[Tensor, "*batch P"]):
        self.policy, self.params = policy, params
        # the last sequence that was drawn or scored, and its version: it is often asked for again
        self._read: tuple[Tensor, int, bool, Walk] | None = None
        super().__init__(params.shape[:-1], torch.Size((policy.length, policy.size)), validate_args=False)

    def expand(self, batch_shape: torch.Size | tuple[int, ...], _instance: Sequences | None = None) -> Sequences:
        return Sequences(self.policy, self.params.expand(*batch_shape, -1))

    # --- drawing -------------------------------------------------------------------------------------------------

    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Float[Tensor, "*shape L K"]:
        """The value has no gradient, but the probabilities it was drawn with are kept with theirs: :meth:`log_prob` of
        it costs nothing more."""
        return self._drawn(sample_shape, lambda log_p: _one(log_p.detach().exp().multinomial(1)[:, 0], log_p))

    @property
    def mode(self) -> Float[Tensor, "*batch L K"]:
        """The sequence of the most probable symbols, one after the other, which need not be the most probable one."""
        return self._drawn((), lambda log_p: _one(log_p.argmax(-1), log_p))

    def relaxed(self, samples: int, temperature: float, hard: bool) -> Float[Tensor, "S *batch L K"]:
        """Draws whose symbols are Gumbel-softmax draws, given the relaxed symbols before them; if ``hard``, one-hot
        with the gradient of the relaxed ones."""
        return self._drawn((samples,), lambda log_p: F.gumbel_softmax(log_p, temperature, hard))

    def straight_through(self, samples: int) -> Float[Tensor, "S *batch L K"]:
        """Draws whose symbols have the gradient of their probabilities."""

        def choose(log_p: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
            p = log_p.exp()
            return _one(p.detach().multinomial(1)[:, 0], p) + p - p.detach()

        return self._drawn((samples,), choose)

    def _drawn(self, shape: torch.Size | tuple[int, ...], choose: Callable[[Tensor], Tensor]) -> Tensor:
        """Sequences of the symbols that ``choose`` makes of log p; after the end there is nothing but the end."""

        def going(_: int, log_p: Tensor, alive: Tensor) -> Tensor:
            symbol = choose(log_p)
            return symbol if self.policy.end is None else alive[:, None] * symbol + _end(self.policy, 1 - alive)

        whole = (*shape, *self.batch_shape)
        walk = self._walk(whole, going)
        return self._kept(walk.value.view(*whole, *self.event_shape), walk)

    def _walk(self, shape: tuple[int, ...], choose: Callable[[int, Tensor, Tensor], Tensor]) -> Walk:
        """One sequence for each element of ``shape``; ``choose`` is given a step, log p, and how much of the sequence
        is alive, and returns a symbol."""
        policy, rows = self.policy, torch.Size(shape).numel()
        state = policy.start(self.params.expand(*shape, -1).reshape(rows, self.params.shape[-1]))
        values, logs, alives, alive = [], [], [], self.params.new_ones(rows)
        for step in range(policy.length):
            if step:
                state = policy.listen(values[-1], state)
            log_p = policy.speak(state)
            value = choose(step, log_p, alive)
            values.append(value)
            logs.append(log_p)
            alives.append(alive)
            if policy.end is not None:
                alive = 1 - value[:, policy.end]
        return Walk(torch.stack(values, 1), torch.stack(logs, 1), torch.stack(alives, 1), state)

    # --- scoring -------------------------------------------------------------------------------------------------

    def read(self, value: Float[Tensor, "... L K"]) -> Walk:
        """A sequence that is given, step by step."""
        walk = self._known(value)
        if walk is None:
            shape = self._shape(value)
            flat = value.expand(*shape, *self.event_shape).reshape(-1, *self.event_shape)
            walk = self._walk(shape, lambda step, *_: flat[:, step])
            self._kept(value, walk)
        return walk

    def _kept(self, value: Tensor, walk: Walk) -> Tensor:
        if not value.is_inference():  # then nothing would tell of a change in place
            self._read = value, value._version, torch.is_grad_enabled(), walk
        return value

    def _known(self, value: Tensor) -> Walk | None:
        """What is known of a value: of the same tensor, or of another view of it with its rows in the same order."""
        if self._read is None or value.is_inference():
            return None
        kept, version, gradients, walk = self._read
        if gradients != torch.is_grad_enabled() or kept._version != version:
            return None
        if kept is value:
            return walk
        same = kept.data_ptr() == value.data_ptr() and kept.numel() == value.numel() and kept.dtype == value.dtype
        same = same and kept.is_contiguous() and value.is_contiguous() and kept.requires_grad == value.requires_grad
        return walk if same and self._shape(value).numel() == len(walk.value) else None

    def _shape(self, value: Tensor) -> torch.Size:
        """That of the values and the texts together."""
        return torch.broadcast_shapes(value.shape[:-2], self.batch_shape)

    def steps(self, value: Float[Tensor, "... L K"]) -> Float[Tensor, "*shape L"]:
        """log q of the symbol of each step; 0 after the end."""
        walk, policy = self.read(value), self.policy
        own = walk.value if policy.end is None else walk.value - _end(policy, 1 - walk.alive)
        return (own * walk.log_p).sum(-1).view(*self._shape(value), -1)

    def log_prob(self, value: Float[Tensor, "... L K"]) -> Float[Tensor, "*shape"]:
        return self.steps(value).sum(-1)

    def divergence(self, p: Sequences, value: Float[Tensor, "... L K"]) -> Float[Tensor, "*shape L"]:
        """KL(q(z_t|z_<t) ‖ p(z_t|z_<t)) at each step of a sequence, exact given what precedes it; 0 after the end."""
        mine, other = self.read(value), p.read(value)
        each = (mine.log_p.exp() * (mine.log_p - other.log_p)).sum(-1)
        return (mine.alive * each).view(*self._shape(value), -1)

    def rate(self, p: Sequences, draw: Draw) -> tuple[Float[Tensor, " B"], None]:
        """E_q Σ_t KL(q(z_t|z_<t)‖p(z_t|z_<t)). The score of a step is that of the symbols before it alone, on which its
        KL depends."""
        each = self.divergence(p, draw.value)
        before = torch.zeros_like(each)
        if draw.score.requires_grad:
            before = self.steps(draw.value).cumsum(-1) - self.steps(draw.value)
        steps = zip(each.unbind(-1), before.unbind(-1), strict=True)
        return torch.stack([expect(kl, dataclasses.replace(draw, score=score)) for kl, score in steps]).sum(0), None

    def endings(self, p: Sequences, value: Float[Tensor, "... L K"]) -> Float[Tensor, "*shape L"]:
        """The part of :meth:`divergence` that is about whether the sequence ends at a step; the rest is about which
        symbol comes if it does not. 0 if none ends."""
        mine, other = self.read(value), p.read(value)
        if self.policy.end is None:
            return torch.zeros_like(mine.alive).view(*self._shape(value), -1)
        ends = [walk.log_p[..., self.policy.end] for walk in (mine, other)]
        # log(1 - p), from the other symbols: near p = 1 a difference would be rounding error
        goes = [
            torch.cat([walk.log_p[..., : self.policy.end], walk.log_p[..., self.policy.end + 1 :]], -1).logsumexp(-1)
            for walk in (mine, other)
        ]
        each = sum(own.exp() * (own - prior) for own, prior in (ends, goes))
        return (mine.alive * each).view(*self._shape(value), -1)

    def lengths(self, value: Float[Tensor, "*shape L K"]) -> Float[Tensor, "*shape"]:
        """Symbols of each sequence, without that which ends it."""
        return lengths(self.policy, value)

    # --- all of them ---------------------------------------------------------------------------------------------

    @property
    def has_enumerate_support(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return count(self.policy) <= MOST

    def enumerate_support(self, expand: bool = True) -> Shaped[Tensor, "S *batch L K"]:
        """Every sequence, the short ones first."""
        policy = self.policy
        if policy.end is None:
            found = [*itertools.product(*map(range, _choices(policy)))]
        else:
            words = [symbol for symbol in range(policy.size) if symbol != policy.end]
            found = [
                (*part, *[policy.end] * (policy.length - length))
                for length in range(policy.least, policy.length + 1)
                for part in itertools.product(words, repeat=length)
            ]
        every = F.one_hot(torch.tensor(found, device=self.params.device), policy.size).to(self.params.dtype)
        every = every.view(len(found), *[1] * len(self.batch_shape), *self.event_shape)
        return every.expand(-1, *self.batch_shape, -1, -1) if expand else every


def count(policy: Policy) -> int:
    """Number of sequences."""
    if policy.end is None:
        return math.prod(_choices(policy))
    return sum((policy.size - 1) ** length for length in range(policy.least, policy.length + 1))


def _choices(policy: Policy) -> list[int]:
    """Number of symbols at each position."""
    return [policy.sizes[at % len(policy.sizes)] for at in range(policy.length)]


def lengths(policy: Policy, value: Float[Tensor, "*shape L K"]) -> Float[Tensor, "*shape"]:
    """Symbols of each sequence, without that which ends it."""
    if policy.end is None:
        return value.new_full(value.shape[:-2], policy.length)
    return (1 - value[..., policy.end]).sum(-1)


def _one(index: Tensor, like: Tensor) -> Tensor:
    return F.one_hot(index, like.shape[-1]).to(like.dtype)


def _end(policy: Policy, weight: Float[Tensor, "*N"]) -> Float[Tensor, "*N K"]:
    """The end with a weight."""
    assert policy.end is not None
    left = [*[0] * policy.end, 1, *[0] * (policy.size - policy.end - 1)]
    return weight[..., None] * weight.new_tensor(left)
