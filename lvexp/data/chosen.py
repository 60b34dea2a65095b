"""A split in which some texts are repeated, or left out."""

from __future__ import annotations

import numpy as np

from lvexp.data.batch import Batch
from lvexp.data.loader import Stock


class Chosen:
    """Some texts of a split, each as often as wanted; a loader reads it in place of the split.

    Args:
        split: the texts.
        places: of the texts, as often as each is wanted.
    """

    alike = False  # copies follow the texts of their bucket

    def __init__(self, split: Stock, places: np.ndarray) -> None:
        self.split = split
        counts = np.array([count for _, count in split.buckets])
        ends = np.cumsum(counts)
        bucket = np.searchsorted(ends, places, side="right")
        self._places = places[np.argsort(bucket, kind="stable")]
        sizes = np.bincount(bucket, minlength=len(counts)).tolist()
        known = zip(split.buckets, sizes, strict=True)
        self.buckets = [(length, size) for (length, _), size in known if size]

    def __len__(self) -> int:
        return len(self._places)

    def batch(self, places: np.ndarray, length: int) -> Batch:
        """The texts at ``places``, which all have ``length`` tokens."""
        return self.split.batch(self._places[places], length)


def copies(places: np.ndarray, texts: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """Copies of ``places``, as evenly as possible, that make them ``share`` of all; none if they are already.

    For n of N texts to reach the share s, E = (s N - n) / (1 - s) copies are needed, rounded up.
    """
    missing = max(0, int(np.ceil((share * texts - len(places)) / (1 - share) - 1e-9)))
    whole, rest = divmod(missing, len(places))
    return np.concatenate([np.tile(places, whole), rng.permutation(places)[:rest]])
