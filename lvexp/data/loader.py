"""Batches of texts of equal length, straight from the encoded corpus on disk."""

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
WINDOW = 2  # batches of neighbours that are shuffled together where neighbours are alike
FIXED = 0  # seed of the order of batches in evaluation


@runtime_checkable
class Stock(Protocol):
    """The texts of a split, in order of length.

    Attributes:
        buckets: (length, number of texts of that length), ascending; consecutive in the order.
        alike: whether neighbours have sources of similar length.
    """

    buckets: list[tuple[int, int]]
    alike: bool

    def __len__(self) -> int: ...

    def batch(self, places: np.ndarray, length: int) -> Batch:
        """The texts at ``places`` in that order, which all have ``length`` tokens."""
        ...


class BatchLoader:
    """The batches of one epoch; all texts of a batch have the same length, so nothing is padded. Sources are padded to
    the longest of their batch; texts are shuffled only with others whose sources have a similar length, which keeps
    that padding small.

    With ``shuffle``, the composition of the batches and their order are a pure function of ``seed`` and the epoch, and
    every pass is the next epoch. Without it, texts are batched in order of length and every pass is the same; the
    batches still come in a fixed shuffled order, so that the first few (``limit_val_batches``) are a fair sample and
    not the shortest texts.

    Every epoch contains each text once, over all ranks. The exception is shuffling for several ranks: some batches are
    given twice so that every rank takes the same number of steps, since ranks wait for each other at each step. In
    evaluation nothing is given twice, and the ranks' numbers of batches may differ by one.

    It can be stopped and resumed in mid-epoch: Lightning saves :meth:`state_dict` in its checkpoints. Creating an
    iterator has no effect until the first batch is taken (Lightning creates some that it does not use).

    Args:
        split: the encoded texts.
        batch_size: the largest number of texts in a batch.
        shuffle: for training; see above.
        seed: of the shuffling.
        rank: number of this process.
        world: number of processes.
        limit: batches that this rank takes in each epoch, as a number (int) or a share (float), as in Lightning's
            ``limit_train_batches``. Used only to tell whether a saved epoch was complete.
        fixed: every pass repeats the first epoch, to overfit a few batches.
        shown: whether the label, or the tags, of each text are observed, [N]; the others become -1. None: all are
            observed. Further attributes are never hidden.
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
        self._begun = False  # whether a batch of this epoch has been taken
        self._lengths, self._counts = (np.array(part, np.int64) for part in zip(*split.buckets, strict=True))
        self._starts = np.cumsum(self._counts) - self._counts  # first place of each bucket in split.order
        batches = -(-self._counts // batch_size)
        self._ends = np.cumsum(batches)
        self.total = int(self._ends[-1])
        self.limit = min(len(self), limit if isinstance(limit, int) else int(len(self) * limit))

    def __len__(self) -> int:
        """Number of batches of this rank in an epoch."""
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
        """The batch with this number in the current epoch, whether already taken or not; the pass itself is not
        affected."""
        ((length, places),) = self._plan(number, number + 1)
        return self._seen(self.split.batch(places, length))

    def set_epoch(self, epoch: int) -> None:
        """Makes the next pass a full pass over ``epoch``, or the rest of it if that epoch was just restored."""
        if self._begun or epoch != self.epoch:
            self.position = 0
        self.epoch, self._begun = epoch, False

    def state_dict(self) -> dict[str, Any]:
        """The position in the pass; the same on every rank."""
        return {"epoch": self.epoch, "position": self.position, "plan": self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Makes the next pass the rest of the saved one.

        Raises:
            RunError: the state belongs to another corpus, batch size, seed or number of processes.
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
        """Length and places in ``split.order`` of the batches ``start`` to ``stop`` of this rank, planned together."""
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
            inside[present] = self._mixed(inside[present], sizes[present], keys[present])
        places = inside + self._starts[bucket][:, None]
        for length, row, here in zip(self._lengths[bucket].tolist(), places, present, strict=True):
            yield length, row[here]

    def _mixed(self, inside: np.ndarray, sizes: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Shuffled positions inside buckets of these sizes, or only inside the windows of the buckets."""
        if not self.split.alike:
            return permute(inside, sizes, keys)
        window = WINDOW * self.batch_size
        first = inside - inside % window
        return first + permute(inside - first, np.minimum(window, sizes - first), keys + first.astype(np.uint64))

    def _seen(self, batch: Batch) -> Batch:
        """The batch with only the labels, or tags, that are observed."""
        if self.shown is None or batch.index is None:
            return batch
        hidden = torch.from_numpy(~self.shown[batch.index.numpy()])
        if batch.labels is not None:
            return dataclasses.replace(batch, labels=batch.labels.masked_fill(hidden, -1))
        assert batch.attributes is not None, "the data module knows which texts have tags"
        return dataclasses.replace(batch, attributes=batch.attributes.masked_fill(hidden[:, None], -1))

    def _first(self, bucket: np.ndarray) -> np.ndarray:
        """Number of the first batch of each bucket."""
        return np.concatenate([[0], self._ends[:-1]])[bucket]
