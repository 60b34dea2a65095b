"""Writes texts from codes: greedily, by sampling or by beam search."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch

from lvexp.data.special import SPECIAL, Special
from lvexp.errors import ConfigError
from lvexp.networks.base import NOTHING, AbstractDecoder, Memories
from lvexp.shapes import Float, Int, Tensor


@dataclasses.dataclass(frozen=True)
class Decoding:
    """How to choose the next token.

    Attributes:
        method: "greedy" (the most probable token), "sample" (a draw) or "beam" (the most probable text found).
        temperature: sample from p^(1/temperature), renormalised.
        top_k: sample from the k most probable tokens; 0 for all tokens (Fan et al. 2018).
        top_p: sample from the smallest set of tokens that has this probability; 1 for all tokens (Holtzman et al.
            2020).
        beam: number of hypotheses that beam search keeps.
        length_penalty: α. Beam search ranks by log p / ((5 + n) / 6)^α for a text of n tokens, ``<eos>`` included (Wu
            et al. 2016, eq. 14); 0 ranks by log p, which favours short texts.
        n_best: number of hypotheses that beam search returns for each code, best first.
        max_length: number of tokens after which a text is cut.
    """

    method: str = "greedy"
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    beam: int = 5
    length_penalty: float = 0.0
    n_best: int = 1
    max_length: int = 100

    def __post_init__(self) -> None:
        if self.method not in ("greedy", "sample", "beam"):
            raise ConfigError(f"decoding method {self.method!r}: it is one of greedy, sample, beam\ntry  beam")
        if not 0 < self.temperature < math.inf:
            raise ConfigError(
                f"decoding temperature={self.temperature}: it must be above 0; greedy is its limit at 0\n"
                "try  temperature=1 | method=greedy"
            )
        if not 0 < self.top_p <= 1 or self.top_k < 0:
            raise ConfigError(
                f"decoding top_k={self.top_k}, top_p={self.top_p}: top_k >= 0 and 0 < top_p <= 1\ntry  0 and 1"
            )
        if not 0 <= self.length_penalty < math.inf:
            raise ConfigError(f"decoding length_penalty={self.length_penalty}: it must be at least 0\ntry  0.6")
        if self.beam < 1 or self.max_length < 1:
            raise ConfigError(
                f"decoding beam={self.beam}, max_length={self.max_length}: both are at least 1\ntry  5 and 100"
            )
        if not 1 <= self.n_best <= (self.beam if self.method == "beam" else 1):
            raise ConfigError(f"decoding n_best={self.n_best}: it must be between 1 and beam, with method beam\ntry  1")


@torch.no_grad()
def write(
    decoder: AbstractDecoder,
    code: Float[Tensor, "N W"],
    how: Decoding,
    memories: Memories = NOTHING,
    special: Special = SPECIAL,
) -> list[list[int]]:
    """A text for each code, or ``how.n_best`` of them one after the other, without ``<bos>`` and ``<eos>``. ``<pad>``
    and ``<bos>`` are never written."""
    if how.method == "beam":
        return _beam(decoder, code, how, memories, special)
    state, tokens = decoder.start(code, memories), torch.full((len(code),), special.bos, device=code.device)
    written, going = [], torch.ones(len(code), dtype=torch.bool, device=code.device)
    for _ in range(how.max_length):
        log_p, state = decoder.step(tokens, state)
        log_p = writable(log_p, special)
        tokens = log_p.argmax(-1) if how.method == "greedy" else _sample(log_p, how)
        tokens = torch.where(going, tokens, special.eos)
        going = going & (tokens != special.eos)
        written.append(tokens)
        if not going.any():
            break
    return [_until(special.eos, row) for row in torch.stack(written, 1).tolist()]


def writable(log_p: Float[Tensor, "N V"], special: Special) -> Float[Tensor, "N V"]:
    log_p = log_p.clone()
    log_p[:, [special.pad, special.bos]] = -torch.inf
    return log_p


def _until(end: int, tokens: list[int]) -> list[int]:
    return tokens[: tokens.index(end)] if end in tokens else tokens


def _sample(log_p: Float[Tensor, "N V"], how: Decoding) -> Int[Tensor, " N"]:
    log_p = log_p / how.temperature
    if how.top_k:
        floor = log_p.topk(min(how.top_k, log_p.shape[-1]), -1).values[:, -1:]
        log_p = log_p.masked_fill(log_p < floor, -torch.inf)
    if how.top_p < 1:
        ordered, index = log_p.softmax(-1).sort(-1, descending=True)
        beyond = ordered.cumsum(-1) - ordered >= how.top_p  # the more probable tokens already suffice
        log_p = log_p.masked_fill(torch.zeros_like(beyond).scatter(-1, index, beyond), -torch.inf)
    return log_p.softmax(-1).multinomial(1)[:, 0]


def _beam(
    decoder: AbstractDecoder,
    code: Float[Tensor, "N W"],
    how: Decoding,
    memories: Memories,
    special: Special,
) -> list[list[int]]:
    """Beam search over all texts at once; hypotheses are ranked by log p, divided by the length penalty. A text leaves
    the batch as soon as its result is certain."""
    width, device = how.beam, code.device
    going = torch.arange(len(code), device=device)  # texts whose search is not over
    written: dict[int, list[list[int]]] = {}
    state = select(decoder.start(code, memories), going.repeat_interleave(width))
    tokens = torch.full((len(code) * width,), special.bos, device=device)
    # at first all hypotheses of a text are identical: only the first may grow
    score = torch.full((len(code), width), -torch.inf, device=device)
    score[:, 0] = 0
    ended = torch.zeros(len(code), width, dtype=torch.bool, device=device)
    length = torch.zeros_like(score)  # tokens of each hypothesis
    history = torch.empty(len(code), width, 0, dtype=torch.long, device=device)
    for step in range(how.max_length):
        log_p, state = decoder.step(tokens, state)
        # no text grows by more than the best ``width`` tokens of a hypothesis, two of which might not be written
        best, token = log_p.topk(min(width + 2, log_p.shape[-1]), -1)
        best = best.masked_fill((token == special.pad) | (token == special.bos), -torch.inf)
        best, token = (part.view(len(going), width, -1) for part in (best, token))
        closed = torch.full_like(best[0, 0], -torch.inf)
        closed[0] = 0  # an ended hypothesis is kept unchanged
        token = token.masked_fill(ended[..., None], special.eos)
        grown = score[..., None] + torch.where(ended[..., None], closed, best)
        length = torch.where(ended, length, length + 1)
        rank = grown / ((5 + length) / 6)[..., None] ** how.length_penalty if how.length_penalty else grown
        chosen = rank.flatten(1).topk(width, -1).indices
        score, token = grown.flatten(1).gather(1, chosen), token.flatten(1).gather(1, chosen)
        parent = chosen // best.shape[-1]
        history = torch.cat([history.gather(1, parent[..., None].expand_as(history)), token[..., None]], -1)
        ended, length = ended.gather(1, parent) | (token == special.eos), length.gather(1, parent)
        # an unfinished hypothesis can still overtake an ended one only if longer texts are favoured
        over = (ended if how.length_penalty else ended[:, : how.n_best]).all(1) | (step + 1 == how.max_length)
        found = history[over, : how.n_best].tolist()
        written |= dict(zip(going[over].tolist(), found, strict=True))
        left = (~over).nonzero()[:, 0]
        if not len(left):
            break
        state = select(state, (parent[left] + width * left[:, None]).flatten())
        going, score, ended, length, history = (part[left] for part in (going, score, ended, length, history))
        tokens = token[left].flatten()
    return [_until(special.eos, row) for text in range(len(code)) for row in written[text]]


def select(state: Any, rows: Int[Tensor, " N"]) -> Any:
    """Selects rows of a decoder's state, which may be nested."""
    if isinstance(state, Tensor):
        return state[rows]
    return tuple(select(part, rows) for part in state)
