"""Text corpora for Lightning: the one data module behind ``data=snips``, ``data=ptb`` and ``data=text``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import lightning as L
import numpy as np
import torch

from lvexp.data.bag import Bag
from lvexp.data.batch import Batch
from lvexp.data.chosen import Chosen, copies
from lvexp.data.corpus import Corpus, open_corpus
from lvexp.data.counts import CountCorpus, open_counts
from lvexp.data.features import Features
from lvexp.data.known import Known
from lvexp.data.loader import BatchLoader, Stock
from lvexp.data.settings import DataSettings
from lvexp.data.storage import Split
from lvexp.data.vocabulary import Vocabulary
from lvexp.errors import ConfigError

_LABELS, _COPIES = 1, 2  # separate streams of random numbers for the same seed


class TextData(L.LightningDataModule):
    """A corpus as batches of equal length. The arguments are the keys of ``conf/data/*.yaml`` and explained there;
    ``known`` is what a finished run knows already, if its vocabulary is to be used.

    Raises (when the corpus is first used):
        ConfigError: a setting cannot be used.
        DataError: a file is missing or malformed.
    """

    def __init__(
        self,
        *,
        name: str,
        files: Mapping[str, Any],
        vocabulary: Mapping[str, Any],
        batch_size: int,
        eval_batch_size: int,
        root: str | None = None,
        format: str = "auto",
        encoding: str = "utf-8",
        header: bool | None = None,
        columns: Mapping[str, Any] | None = None,
        split: Mapping[str, Any] | None = None,
        lowercase: bool = False,
        max_length: int = 200,
        long: str = "drop",
        answered: str | None = None,
        labelled: int | float = 1.0,
        transductive: bool = False,
        balance: float = 0.0,
        cache: str | None = None,
        seed: int = 0,
        view: str = "tokens",
        counts: Mapping[str, Any] | None = None,
        folder: str | None = None,
        variant: str | None = None,
        sources: Mapping[str, str | None] | None = None,
        hf: Mapping[str, Any] | None = None,
        known: Known | None = None,
    ) -> None:
        super().__init__()
        self.batch_size, self.eval_batch_size, self.seed, self.labelled = batch_size, eval_batch_size, seed, labelled
        self.balance, self.known = balance, known
        self.settings = DataSettings.of(
            {
                "name": name,
                "root": root,
                "files": files,
                "sources": sources,
                "hf": hf,
                "format": format,
                "encoding": encoding,
                "header": header,
                "columns": columns or {"text": 0, "label": None},
                "split": split or {"valid": 0.05, "test": 0.05, "seed": 0},
                "lowercase": lowercase,
                "vocabulary": vocabulary,
                "max_length": max_length,
                "long": long,
                "answered": answered,
                "batch_size": batch_size,
                "eval_batch_size": eval_batch_size,
                "labelled": labelled,
                "transductive": transductive,
                "cache": cache,
                "view": view,
                "counts": counts,
                "folder": folder,
            }
        )

    @cached_property
    def corpus(self) -> Corpus | CountCorpus:
        """The encoded corpus, opened (and encoded if necessary) on first use."""
        if self.settings.counted:
            return open_counts(self.settings, self.known)
        return open_corpus(self.settings, self.known)

    @property
    def vocabulary(self) -> Vocabulary | Bag | Features:
        """The vocabulary, from text to ids or counts, and back."""
        return self.corpus.vocabulary

    @property
    def sources(self) -> Vocabulary | Features | None:
        """The vocabulary of the sources, or the shape of their feature vectors; None if texts and sources share one
        vocabulary."""
        return self.corpus.sources

    @property
    def labels(self) -> list[str]:
        """Names of the classes; empty if there are no labels."""
        return self.corpus.labels

    @property
    def classes(self) -> dict[str, list[str]]:
        """Attribute → names of its classes: that of ``columns.label`` first, then the further columns; or those of each
        key of the tags."""
        name = self.settings.columns.label
        if not self.labels:
            return dict(self.corpus.attributes) if self.settings.columns.tags is not None else {}
        return {name if isinstance(name, str) else "label": self.labels, **self.corpus.attributes}

    @cached_property
    def shown(self) -> np.ndarray | None:
        """Whether the label, or the tags, of each training text are observed, [N]: ``labelled`` of those that have one,
        selected by ``seed``. None if all are. Further attributes are never hidden."""
        there = self._there
        if there is None or (self.labelled == 1.0 and isinstance(self.labelled, float)):
            return None
        known = np.flatnonzero(there)
        count = self.labelled if isinstance(self.labelled, int) else round(self.labelled * len(known))
        if count > len(known):
            raise ConfigError(
                f"data.labelled={self.labelled}: {len(known):,} training texts have a label\ntry  data.labelled=1.0"
            )
        found = np.zeros(len(there), bool)
        found[np.random.default_rng((self.seed, _LABELS)).permutation(known)[:count]] = True
        return found

    @property
    def _there(self) -> np.ndarray | None:
        """Whether each training text has a label, or tags, [N]; None if the corpus has none."""
        split = self.corpus.splits["train"]
        if split.labels is not None:
            return split.labels >= 0
        if self.settings.columns.tags is None or not isinstance(split, Split) or split.attributes is None:
            return None
        return split.attributes[:, 0] >= 0

    @cached_property
    def _training(self) -> Stock:
        """The texts of an epoch: each text once and, with ``balance``, as many copies of the labelled ones as
        necessary; with a ``balance`` of 1, the labelled ones alone."""
        split, there = self.corpus.splits["train"], self._there
        if not self.balance:
            return split
        assert isinstance(split, Split), "compat refuses models of counts, which look at no label"
        known = np.zeros(len(split), bool) if there is None else there
        places = np.flatnonzero((known if self.shown is None else self.shown)[split.order])
        if not len(places):
            raise ConfigError(
                f"data.balance={self.balance}: no training text shows a label\n"
                "try  data.balance=0.0 | data.labelled=1.0 and a corpus with labels"
            )
        if self.balance == 1:
            return Chosen(split, places)
        rng = np.random.default_rng((self.seed, _COPIES))
        return Chosen(split, np.concatenate([np.arange(len(split)), copies(places, len(split), self.balance, rng)]))

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches that one process trains on in an epoch, before any limit of the trainer."""
        return len(self.train_dataloader())

    def prepare_data(self) -> None:
        """Encodes the corpus, once per machine."""
        _ = self.corpus

    def train_dataloader(self) -> BatchLoader:
        """Shuffled batches; the same ones in every epoch when the trainer overfits a few."""
        options: dict[str, Any] = {"shuffle": True, "seed": self.seed, "shown": self.shown}
        if self.trainer is not None:
            few = self.trainer.overfit_batches > 0  # pyright: ignore[reportAttributeAccessIssue]  # set at run time
            options |= {"limit": self.trainer.limit_train_batches, "fixed": few}
        loader = BatchLoader(self._training, self.batch_size, **options, **self._share)
        if self.trainer is not None:
            # Lightning restores the loader's own state only if the epoch was unfinished.
            progress = self.trainer.fit_loop.epoch_progress.current
            loader.set_epoch(progress.processed)  # pyright: ignore[reportAttributeAccessIssue]  # typed as its base
        return loader

    def val_dataloader(self) -> BatchLoader:
        """Each validation text once, divided among the processes."""
        return BatchLoader(self.corpus.splits["valid"], self.eval_batch_size, **self._share)

    def test_dataloader(self) -> BatchLoader:
        """Each test text once."""
        return self.in_order("test")

    def in_order(self, split: str) -> BatchLoader:
        """Each text of a split once, in an order that never changes, not divided among the processes: one process makes
        the report for all."""
        return BatchLoader(self.corpus.splits[split], self.eval_batch_size)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """The batch on ``device``."""
        return batch.to(device)

    @property
    def _share(self) -> dict[str, Any]:
        """The part of divided batches that belongs to this process."""
        trainer = self.trainer
        return {} if trainer is None else {"rank": trainer.global_rank, "world": trainer.world_size}
