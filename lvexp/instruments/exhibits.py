"""The texts that a report shows: samples, reconstructions and interpolations between two texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from lvexp.models.base import LatentModel
from lvexp.networks.writing import Decoding
from lvexp.shapes import Float, Tensor

_CODES = 256  # number of texts written at once


@dataclasses.dataclass(frozen=True)
class Interpolation:
    """Texts decoded along a line between two posterior means."""

    ends: tuple[str, str]
    path: Sequence[str]


def sample(model: LatentModel, count: int, length: int) -> list[str]:
    """Texts drawn from the model: z from the prior, words from the full p(x|z); cut after ``length`` tokens."""
    prior = model.latent.prior()
    if prior is None:
        code = torch.zeros(count, model.latent.width, device=model.device)
    else:
        code = model.latent.code(prior.sample(torch.Size((1, count))))[0]
    return decode(model, code, Decoding("sample", max_length=length))


def reconstruct(model: LatentModel, value: Float[Tensor, "N ..."], length: int) -> list[str]:
    """The text that greedy decoding produces from each z, cut after ``length`` tokens."""
    return decode(model, model.latent.code(value[None])[0], Decoding(max_length=length))


def interpolate(model: LatentModel, start: Tensor, end: Tensor, steps: int, length: int) -> list[str]:
    """:func:`reconstruct` at ``steps`` evenly spaced points on the line from z = ``start`` to ``end``, inclusive."""
    line = [model.latent.between(start, end, number / (steps - 1)) for number in range(steps)]
    return reconstruct(model, torch.stack(line), length)


def decode(model: LatentModel, code: Float[Tensor, "N W"], how: Decoding) -> list[str]:
    """A text for each code."""
    return [model.vocabulary.decode(text) for part in code.split(_CODES) for text in model.write(part, how)]


def pairs(texts: Sequence[Sequence[int]], count: int) -> list[tuple[int, int]]:
    """Row numbers of ``count`` pairs of different texts near the median length, no text twice, equal in every run."""
    first = {tuple(text): row for row, text in reversed(list(enumerate(texts)))}  # the first of equal texts
    rows = sorted(first.values())
    median = sorted(len(texts[row]) for row in rows)[len(rows) // 2]
    count = min(count, len(rows) // 2)
    # the tenth of the texts with lengths nearest to the median; from these, pairs that are far apart in the corpus
    near = sorted(rows, key=lambda row: abs(len(texts[row]) - median))[: max(2 * count, len(rows) // 10)]
    near = [sorted(near)[at] for at in spread(len(near), 2 * count)]
    return list(zip(near[:count], near[count:], strict=True))


def spread(size: int, count: int) -> list[int]:
    """``count`` evenly spaced numbers below ``size``; all of them if there are not more than ``count``."""
    count = min(size, count)
    return [number * size // count for number in range(count)]
