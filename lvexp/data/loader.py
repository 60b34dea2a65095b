"""Batches of equal length, straight from the encoded corpus on disk."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from lvexp.data.batch import Batch
from lvexp.data.permute import key, permute
from lvexp.errors import RunError

BLOCK = 256  # batches planned at a time
FIXED = 0  # seed of the order in which evaluation visits its batches


@runtime_checkable
class Stock(Protocol):
    """The texts of a split, in order of length.

    Attributes:
        buckets: (length, texts of that length), ascending; they follow one another.
    """

    buckets: list[tuple[int, int]]

    def __len__(self) -> int: ...

    def batch(self, places: np.ndarray, length: int) -> Batch:
        """The texts at ``places`` of that order, which all have ``length`` tokens."""
        ...


class BatchLoader:
    """The batches of one epoch; all texts of a batch have the same length, so nothing is padded.

    With ``shuffle``, which texts of a length share a batch and the order of the batches are a pure function of
    ``seed`` and the epoch, and every pass is the next epoch. Without, texts are batched in order of length and every
    pass is the same; the batches still come in a fixed mixed order, so that the first few (``limit_val_batches``)
    are a fair sample and not the shortest texts.

    Every epoch holds each text once, over all ranks. The exception: when shuffling for several ranks, some batches
    are given twice so that every rank takes the same number of steps, on which they wait for one another. In
    evaluation nothing is given twice, and ranks may differ by one batch.

    It can be stopped and resumed in mid-epoch: Lightning saves :meth:`state_dict` in its checkpoints. Asking for an
    iterator changes nothing until the first batch is taken (Lightning asks more often than it takes).

    Args:
        split: the encoded texts.
        batch_size: texts in a batch at most.
        shuffle: for training; see above.
        seed: of the shuffling.
        rank: this process.
        world: number of processes.
        limit: batches of this rank that are taken of each epoch, as a number (int) or a share (float) as in Lightning's
            ``limit_train_batches``. It only tells when a saved epoch was complete.
        fixed: every pass is the first epoch again, to overfit a few batches.
        shown: whether the label of each text may be seen, [N]; the others become -1. None shows all.
    """

    def __init__(
        self,
        split: Stock,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        limit: int | float = 1.0,
        fixed: bool = False,
        shown: np.ndarray | None = None,
    ) -> None:
        self.split, self.batch_size, self.shuffle, self.seed = split, batch_size, shuffle, seed
        self.rank, self.world, self.fixed, self.shown = rank, world, fixed, shown
        self.epoch = self.position = 0
        self._begun = False  # whether a batch of this epoch was taken
        self._lengths, self._counts = (np.array(part, np.int64) for part in zip(*split.buckets, strict=True))
        self._starts = np.cumsum(self._counts) - self._counts  # first place of each bucket in split.order
        batches = -(-self._counts // batch_size)
        self._ends = np.cumsum(batches)
        self.total = int(self._ends[-1])
        self.limit = min(len(self), limit if isinstance(limit, int) else int(len(self) * limit))

    def __len__(self) -> int:
        """Batches of this rank in an epoch."""
        if self.shuffle:
            return math.ceil(self.total / self.world)
        return len(range(self.rank, self.total, self.world))

    def __iter__(self) -> Iterator[Batch]:
        if self._begun:
            self.set_epoch(self.epoch + 1)
        self._begun = True
        for start in range(self.position, len(self), BLOCK):
            for length, places in self._plan(start, min(start + BLOCK, len(self))):
                self.position += 1
                yield self._seen(self.split.batch(places, length))

    def pick(self, number: int) -> Batch:
        """The batch of this number in the epoch at hand, given already or still to come; the pass goes on as if it had
        not been asked for."""
        ((length, places),) = self._plan(number, number + 1)
        return self._seen(self.split.batch(places, length))

    def set_epoch(self, epoch: int) -> None:
        """Makes the next pass a whole one over ``epoch``, or what is left of it if that epoch was just restored."""
        if self._begun or epoch != self.epoch:
            self.position = 0
        self.epoch, self._begun = epoch, False

    def state_dict(self) -> dict[str, Any]:
        """How far the pass is; the same on every rank."""
        return {"epoch": self.epoch, "position": self.position, "plan": self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Makes the next pass what was left of the saved one.

        Raises:
            RunError: the state is of another corpus, batch size, seed or number of processes.
        """
        if state["plan"] != self._identity():
            saved = ", ".join(f"{name} {value}" for name, value in state["plan"].items())
            mine = ", ".join(f"{name} {value}" for name, value in self._identity().items())
            raise RunError(
                f"the checkpoint stopped in an epoch of other batches\n  saved: {saved}\n  now:   {mine}\n"
                "try  the settings that it was saved with, or force=true to train anew"
            )
        self.epoch, self.position, self._begun = state["epoch"], state["position"], False
        if self.position >= self.limit:
            self.epoch, self.position = self.epoch + 1, 0

    def _identity(self) -> dict[str, int]:
        sizes = {"sentences": len(self.split), "batches": self.total, "batch size": self.batch_size}
        return {**sizes, "seed": self.seed, "processes": self.world}

    def _plan(self, start: int, stop: int) -> Iterator[tuple[int, np.ndarray]]:
        """Length and places in ``split.order`` of the batches ``start`` to ``stop`` of this rank, planned at once."""
        epoch = 0 if self.fixed else self.epoch
        seeds = (self.seed, epoch) if self.shuffle else (FIXED, 0)
        number = (np.arange(start, stop) * self.world + self.rank) % self.total
        number = permute(number, self.total, key(*seeds, 0))
        bucket = np.searchsorted(self._ends, number, side="right")
        inside = np.arange(self.batch_size) + ((number - self._first(bucket)) * self.batch_size)[:, None]
        present = inside < self._counts[bucket][:, None]
        if self.shuffle:
            keys = np.array([key(*seeds, length) for length in self._lengths.tolist()], np.uint64)
            sizes, keys = (np.broadcast_to(part[bucket][:, None], inside.shape) for part in (self._counts, keys))
            inside[present] = permute(inside[present], sizes[present], keys[present])
        places = inside + self._starts[bucket][:, None]
        for length, row, here in zip(self._lengths[bucket].tolist(), places, present, strict=True):
            yield length, row[here]

    def _seen(self, batch: Batch) -> Batch:
        """The batch with only the labels that may be seen."""
        if self.shown is None or batch.labels is None or batch.index is None:
            return batch
        hidden = torch.from_numpy(~self.shown[batch.index.numpy()])
        return dataclasses.replace(batch, labels=batch.labels.masked_fill(hidden, -1))

    def _first(self, bucket: np.ndarray) -> np.ndarray:
        """Number of the first batch of each bucket."""
        return np.concatenate([[0], self._ends[:-1]])[bucket]
