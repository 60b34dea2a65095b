"""Callbacks around training steps: seeds, memory, values that are not finite, curves."""

from __future__ import annotations

import ctypes
import hashlib
import os
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from lvexp.errors import Diverged
from lvexp.training.module import Training


def derive(*parts: object) -> int:
    """A seed derived from other values, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()[:6], "big")


class Seeds(Callback):
    """Seeds every step from (seed, step, rank), so that a resumed run makes the same draws as an uninterrupted one."""

    def __init__(self, seed: int):
        self.seed = seed

    def _set(self, device: torch.device, *parts: object) -> None:
        # torch.manual_seed would loop over all kinds of devices, and queue a call for those not yet in use
        seed = derive(self.seed, *parts)
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int):
        self._set(pl_module.device, trainer.global_step, batch_idx, trainer.global_rank)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule):
        # the same noise at every validation, so that differences between epochs come from the model
        self._set(pl_module.device, "validation", trainer.global_rank)


class ReturnMemory(Callback):
    """Returns freed memory to the system when training begins and every ``every`` steps, if the C library is glibc.

    Batches of constantly varying lengths fragment its heap, which would otherwise grow to twice the size that training
    needs; in a sweep, also by that of the job before.
    """

    def __init__(self, every: int = 50):
        self.every = every
        self.trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule):
        if self.trim is not None:
            self.trim(0)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any):
        if self.trim is not None and pl_module.device.type == "cpu" and trainer.global_step % self.every == 0:
            self.trim(0)


class Finite(Callback):
    """Checks every ``every`` steps, and before each validation, whether all parameters are finite, on all processes at
    the same time. If :attr:`Training.looks` is true, every loss and gradient is checked already, and only the check
    before validations remains. Records where training diverged."""

    def __init__(self, every: int):
        self.every = every

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any):
        assert isinstance(pl_module, Training)
        if not pl_module.looks and trainer.global_step % self.every == 0:
            pl_module.require_finite()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule):
        assert isinstance(pl_module, Training)
        pl_module.require_finite()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException):
        if not isinstance(exception, Diverged) or exception.place:
            return
        if trainer.validating:
            exception.place = f"the validation after step {trainer.global_step}"
        else:
            batch, epoch = trainer.fit_loop.epoch_loop.batch_idx + 1, trainer.current_epoch + 1
            exception.place = f"step {trainer.global_step + 1} (batch {batch} of epoch {epoch})"


class Learnt(Callback):
    """Ends training when a whole epoch left nothing to learn (:meth:`LatentModel.resampled`): the parameters would
    stay as they are."""

    def __init__(self):
        self.idle = 0  # how many batches in a row

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any):
        self.idle = 0 if outputs else self.idle + 1
        if self.idle >= trainer.num_training_batches:
            trainer.should_stop = True


class TrainingCurves(Callback):
    """Logs the figures of training steps as ``train/…``, averaged over the texts of every ``every`` steps (a single
    batch holds texts of one length and is not representative), and ``train/beta`` of the last of these steps; with
    ``lr`` also ``train/lr``."""

    def __init__(self, every: int, lr: bool = False):
        self.every, self.lr = every, lr
        # of each figure, as not every turn measures all: its sum over texts, and how many they are
        self.sums: dict[str, Any] = {}
        self.texts: dict[str, int] = {}

    def state_dict(self) -> dict[str, Any]:
        return {"sums": {name: float(value) for name, value in self.sums.items()}, "texts": dict(self.texts)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        texts = state_dict.get("texts")  # of earlier versions one number, or none, of means over batches
        if texts is not None:
            self.sums = dict(state_dict["sums"])
            self.texts = texts if isinstance(texts, dict) else dict.fromkeys(self.sums, int(texts))

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *_: Any):
        assert isinstance(pl_module, Training)
        for name, value in pl_module.measured.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.double() * len(batch)
            self.texts[name] = self.texts.get(name, 0) + len(batch)
        if trainer.global_step % self.every:
            return
        values = {f"train/{name}": float(total) / self.texts[name] for name, total in self.sums.items()}
        self.sums, self.texts = {}, {}
        if "train/rate" in values:
            values["train/beta"] = pl_module.beta
        if self.lr and pl_module.lr is not None:
            values["train/lr"] = pl_module.lr
        for logger in trainer.loggers:
            logger.log_metrics({**values, "epoch": trainer.current_epoch}, step=trainer.global_step - 1)
