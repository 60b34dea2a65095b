"""What a data module hands to a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from lvexp.data.special import PAD
from lvexp.shapes import Bool, Float, Int, Tensor


@dataclasses.dataclass  # not frozen: Lightning sets fields of a copy if the precision is not 32 bits
class Batch:
    """A batch of texts: ``<bos> w1 … wn <eos> <pad>…``.

    Attributes:
        tokens: token ids, [B, T].
        lengths: tokens of each text with ``<bos>`` and ``<eos>``, [B].
        labels: class of each text, -1 if it is not observed, [B]; None if the corpus has no labels.
        attributes: class of each text in each of the further columns, -1 if it is not known, [B, A]; None if the corpus
            has none.
        source: a second text to condition on, with its own ``<bos>`` and ``<eos>``, padded, [B, T2]; or feature
            vectors, [B, T2, F].
        group: number of the group that a text belongs to (the question that it may answer), [B].
        counts: bag-of-words counts, [B, V].
        index: row of each text in its split, [B].
        vectors: N feature vectors in the place of each text, [B, N, F2].
    """

    tokens: Int[Tensor, "B T"]
    lengths: Int[Tensor, " B"]
    labels: Int[Tensor, " B"] | None = None
    source: Int[Tensor, "B T2"] | Float[Tensor, "B T2 F"] | None = None
    counts: Float[Tensor, "B V"] | None = None
    index: Int[Tensor, " B"] | None = None
    group: Int[Tensor, " B"] | None = None
    attributes: Int[Tensor, "B A"] | None = None
    vectors: Float[Tensor, "B N F2"] | None = None

    def __len__(self) -> int:
        return self.tokens.shape[0]

    @property
    def sourced(self) -> Bool[Tensor, "B T2"]:
        """True where :attr:`source` holds a token of the source, ``<bos>`` and ``<eos>`` too, or a vector."""
        assert self.source is not None
        if self.source.is_floating_point():
            return self.source.new_ones(self.source.shape[:2], dtype=torch.bool)
        return self.source != PAD

    @property
    def inputs(self) -> Int[Tensor, "B T_1"]:
        """The input of a left-to-right decoder: all but the last column."""
        return self.tokens[:, :-1]

    @property
    def targets(self) -> Int[Tensor, "B T_1"]:
        """The tokens it must predict: all but ``<bos>``."""
        return self.tokens[:, 1:]

    @property
    def mask(self) -> Bool[Tensor, "B T_1"]:
        """True where :attr:`targets` holds a token of the text (``<eos>`` counted, padding not)."""
        steps = torch.arange(1, self.tokens.shape[1], device=self.tokens.device)
        return steps < self.lengths[:, None]

    def predicted(self) -> int:
        """Number of predicted tokens: words and ``<eos>``, never ``<bos>``."""
        return int(self.lengths.sum()) - len(self)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        moved = {
            field.name: value.to(device)
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) is not None
        }
        return dataclasses.replace(self, **moved)

    def __getitem__(self, rows: slice | Int[Tensor, " B2"]) -> Batch:
        """The texts at ``rows``, all columns."""
        picked = {
            field.name: value[rows]
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) is not None
        }
        return dataclasses.replace(self, **picked)

    def trimmed(self) -> Batch:
        """The same texts without the columns that are padding in all of them."""
        return dataclasses.replace(self, tokens=self.tokens[:, : int(self.lengths.max())])

    @classmethod
    def of(cls, texts: Sequence[Sequence[int]], sources: Sequence[Sequence[int]] | None = None) -> Batch:
        """A padded batch from encoded texts, and their sources (each with its ``<bos>`` and ``<eos>``)."""
        lengths = torch.tensor([len(text) for text in texts])
        return cls(_padded(texts), lengths, source=None if sources is None else _padded(sources))


def _padded(texts: Sequence[Sequence[int]]) -> Int[Tensor, "B T"]:
    tokens = torch.full((len(texts), max(map(len, texts))), PAD)
    for row, text in enumerate(texts):
        tokens[row, : len(text)] = torch.tensor(list(text))
    return tokens
