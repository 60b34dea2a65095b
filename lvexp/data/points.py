"""Points: feature vectors in the place of texts, held in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from lvexp.data.batch import Batch
from lvexp.data.features import Features
from lvexp.data.special import BOS
from lvexp.shapes import Float, Tensor

_LENGTH = 1  # <bos>, the only token, as of bags of words


class Points:
    """The points of one split.

    Args:
        vectors: one for each point, [N, F]. classes: the class of each, [N].

    Attributes:
        labels: the classes.
        buckets, alike: see :class:`lvexp.data.loader.Stock`.
    """

    alike = False

    def __init__(self, vectors: np.ndarray, classes: np.ndarray):
        self.vectors, self.labels = vectors.astype(np.float32), classes
        self.buckets = [(_LENGTH, len(vectors))]

    def __len__(self) -> int:
        return len(self.vectors)

    def batch(self, places: np.ndarray, length: int) -> Batch:
        """The points at ``places``."""
        made = as_batch(torch.from_numpy(self.vectors[places])[:, None])
        return dataclasses.replace(made, labels=torch.from_numpy(self.labels[places]), index=torch.from_numpy(places))


@dataclasses.dataclass(frozen=True)
class PointCorpus:
    """What a data module knows of its points, as of a :class:`~lvexp.data.corpus.Corpus`.

    Attributes:
        splits: train, valid and test. vocabulary: the shape of a point. labels: names of the classes.
        notes: on how the points were made. fingerprint: of the rule.
        sources, attributes: points have none.
    """

    splits: Mapping[str, Points]
    vocabulary: Features
    labels: Sequence[str]
    notes: Sequence[str]
    fingerprint: str
    sources: None = None
    attributes: Mapping[str, list[str]] = dataclasses.field(default_factory=dict)


def as_batch(vectors: Float[Tensor, "N T F"]) -> Batch:
    """Points as a batch, with ``<bos>`` as the only token of each."""
    return Batch(torch.full((len(vectors), 1), BOS), torch.full((len(vectors),), _LENGTH), vectors=vectors)
