"""Some texts more often than others."""

from __future__ import annotations

import numpy as np

from lvexp.data.batch import Batch
from lvexp.data.loader import Stock


class Repeated:
    """The texts of a split, once each, and copies of some: what a loader reads in place of the split.

    Args:
        split: the texts.
        copies: places of the texts to be there again, as often as they are named.
    """

    def __init__(self, split: Stock, copies: np.ndarray) -> None:
        self.split = split
        counts = np.array([count for _, count in split.buckets])
        ends = np.cumsum(counts)
        places = np.concatenate([np.arange(len(split)), copies])
        bucket = np.searchsorted(ends, places, side="right")
        self._places = places[np.argsort(bucket, kind="stable")]
        sizes = np.bincount(bucket, minlength=len(counts)).tolist()
        self.buckets = [(length, size) for (length, _), size in zip(split.buckets, sizes, strict=True)]

    def __len__(self) -> int:
        return len(self._places)

    def batch(self, places: np.ndarray, length: int) -> Batch:
        """The texts at ``places``, which all have ``length`` tokens."""
        return self.split.batch(self._places[places], length)


def copies(places: np.ndarray, texts: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """The copies of ``places`` that make them ``share`` of all, as equally as can be; none where they are that already.

    n of N texts are to be the share s with E copies: E = (s N - n) / (1 - s), rounded up.
    """
    missing = max(0, int(np.ceil((share * texts - len(places)) / (1 - share) - 1e-9)))
    whole, rest = divmod(missing, len(places))
    return np.concatenate([np.tile(places, whole), rng.permutation(places)[:rest]])
