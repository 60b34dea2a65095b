"""Points in the plane, made by a rule: a ring, or a grid of normal distributions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np

from lvexp.data.features import Features
from lvexp.data.module import TextData
from lvexp.data.points import PointCorpus, Points
from lvexp.data.source import SPLITS
from lvexp.errors import ConfigError

_SECTORS = 8
#: points, the class of each, log p of each in nats
Made = tuple[np.ndarray, np.ndarray, np.ndarray]


def ring(count: int, draw: np.random.Generator, width: float, **_: Any) -> Made:
    r"""The ring of Doersch 2016, figure 2: :math:`x = w z + z / \|z\|` with z from N(0, I) and the width w, there 1/10.
    The class is the sector of the angle.

    With :math:`s = (\|x\| - 1) / w`, which has a Rayleigh distribution, :math:`p(x) = s e^{-s^2/2} / (2 \pi w \|x\|)`.
    """
    z = draw.standard_normal((count, 2))
    length = np.hypot(*z.T)
    angle = np.arctan2(z[:, 1], z[:, 0]) % (2 * math.pi)
    log_p = np.log(length) - length**2 / 2 - np.log(2 * math.pi * width * (1 + width * length))
    return width * z + z / length[:, None], (angle * _SECTORS / (2 * math.pi)).astype(np.int64) % _SECTORS, log_p


def grid(count: int, draw: np.random.Generator, width: float, cells: int, **_: Any) -> Made:
    r"""A mixture of cells × cells normal distributions of standard deviation w on a grid over [-1, 1] × [-1, 1], all
    with the same weight. The class is the row."""
    places = np.linspace(-1, 1, cells)
    at = draw.integers(cells, size=(count, 2))
    x = places[at] + width * draw.standard_normal((count, 2))
    # the mixture is a product of one for each coordinate
    each = -((x[..., None] - places) ** 2) / (2 * width**2) - math.log(width * math.sqrt(2 * math.pi) * cells)
    return x, cells - 1 - at[:, 1], np.log(np.exp(each).sum(-1)).sum(-1)


RULES: Mapping[str, Callable[..., Made]] = {"ring": ring, "grid": grid}


class Shapes(TextData):
    """Points in the plane in the place of texts.

    Args:
        rule: "ring" or "grid".
        points: number of points of ``train``, ``valid`` and ``test``; ``seed``: of their draws.
        width: of the ring, or standard deviation of each of the grid's distributions.
        cells: distributions in a row of the grid.
        keys: of every :class:`~lvexp.data.module.TextData`.
    """

    def __init__(self, *, rule: str, points: Mapping[str, int], width: float, cells: int, **keys: Any):
        super().__init__(**keys, vocabulary={})
        if rule not in RULES:
            raise ConfigError(f"data.rule={rule}: it is one of {', '.join(RULES)}")
        self.rule, self.points, self.width, self.cells = rule, points, width, cells

    @cached_property
    def corpus(self) -> PointCorpus:  # pyright: ignore[reportIncompatibleVariableOverride]  # points, not texts
        draw, splits, true = np.random.default_rng(self.points["seed"]), {}, 0.0
        for split in SPLITS:
            x, classes, log_p = RULES[self.rule](self.points[split], draw, width=self.width, cells=self.cells)
            splits[split], true = Points(x, classes), float(log_p.mean())
        turn = 360 / _SECTORS
        sectors = [f"{turn * at:g}° to {turn * (at + 1):g}°" for at in range(_SECTORS)]
        rows = [f"row {at + 1}" for at in range(self.cells)]
        note = f"the density that the points are drawn from has an NLL of {-true:.2f} nats on the test set"
        return PointCorpus(
            splits, Features(1, 2), sectors if self.rule == "ring" else rows, [note], f"data.rule={self.rule}"
        )
