"""Relaxed texts: what a decoder writes, as distributions over words through which gradients pass."""

from __future__ import annotations

import dataclasses

import torch
from torch.nn import functional as F

from lvexp.data.special import SPECIAL, Special
from lvexp.networks.base import AbstractDecoder
from lvexp.networks.writing import writable
from lvexp.shapes import Float, Int, Tensor


@dataclasses.dataclass(frozen=True)
class Relaxed:
    """Relaxed texts, ``<bos> w1 … wn <eos> <pad>…``, for an encoder.

    Attributes:
        tokens: a distribution over words at each position; one-hot at ``<bos>`` and ``<pad>``.
        lengths: positions of each text, with ``<bos>`` and ``<eos>``.
    """

    tokens: Float[Tensor, "N T V"]
    lengths: Int[Tensor, " N"]


def relax(
    decoder: AbstractDecoder,
    code: Float[Tensor, "N W"],
    temperature: float,
    max_length: int,
    hard: bool = False,
    special: Special = SPECIAL,
) -> Relaxed:
    r"""A relaxed text for each code. The decoder reads each relaxed word as the expected word vector:

    .. math:: \tilde x_t = \mathrm{softmax}(\log p(\cdot|\tilde x_{<t}, z) / \tau)

    as in Hu et al. 2017, eq. 6: no noise, so that it is greedy decoding as τ → 0. A text ends where ``<eos>`` is the
    most probable word.

    Args:
        decoder: its ``step`` must accept relaxed words.
        code: of each text. temperature: τ.
        max_length: number of words after which a text is cut.
        hard: draw each word instead, one-hot, with the gradient of the relaxed draw (straight-through Gumbel-softmax,
            Jang et al. 2017).
        special: tokens of the vocabulary.
    """

    def one_hot(token: int, size: int) -> Float[Tensor, " V"]:
        return F.one_hot(torch.tensor(token, device=code.device), size).to(code)

    state = decoder.start(code)
    # the first step reads an id, which also tells the size of the vocabulary
    log_p, state = decoder.step(torch.full((len(code),), special.bos, device=code.device), state)
    size = log_p.shape[-1]
    words, going = [one_hot(special.bos, size).expand_as(log_p)], torch.ones_like(log_p[:, 0], dtype=torch.bool)
    lengths = torch.ones(len(code), dtype=torch.long, device=code.device)
    while True:
        scores = writable(log_p, special)
        word = F.gumbel_softmax(scores, temperature, hard=True) if hard else (scores / temperature).softmax(-1)
        ends = word.argmax(-1) == special.eos
        words.append(torch.where(going[:, None], word, one_hot(special.pad, size)))
        lengths, going = lengths + going, going & ~ends
        if len(words) > max_length or not going.any():
            return Relaxed(torch.stack(words, 1), lengths)
        log_p, state = decoder.step(words[-1], state)
