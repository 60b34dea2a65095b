"""What happens around the training steps: seeds, validation by the true bound, decay, checkpoints."""

from __future__ import annotations

import ctypes
import hashlib
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint, EarlyStopping

from lvexp.errors import Diverged, RunError
from lvexp.instruments.base import Context
from lvexp.instruments.evaluate import Make, Walk, applying, validated
from lvexp.instruments.settings import EvaluationSettings
from lvexp.terms import Terms
from lvexp.training.loggers import CsvLogger
from lvexp.training.module import Training


def derive(*parts: object) -> int:
    """A seed from other numbers, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()[:6], "big")


class Seeds(Callback):
    """Seeds every step from (seed, step, rank): a resumed run then draws what an uninterrupted one would have."""

    def __init__(self, seed: int):
        self.seed = seed

    def _set(self, device: torch.device, *parts: object) -> None:
        # torch.manual_seed would go through every kind of device, and note each call for those not yet in use
        seed = derive(self.seed, *parts)
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int):
        self._set(pl_module.device, trainer.global_step, batch_idx, trainer.global_rank)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule):
        # the same noise at every validation: differences between epochs are then the model's
        self._set(pl_module.device, "validation", trainer.global_rank)


class ReturnMemory(Callback):
    """Hands freed memory back to the system every ``every`` steps, where the C library is glibc.

    Batches of ever other lengths leave holes of ever other sizes in its heap, which otherwise grows to twice of what
    training needs.
    """

    def __init__(self, every: int = 50):
        self.every = every
        self.trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any):
        if self.trim is not None and pl_module.device.type == "cpu" and trainer.global_step % self.every == 0:
            self.trim(0)


class Finite(Callback):
    """Looks every ``every`` steps, and before each validation, whether all parameters are finite, on all processes
    alike; where :attr:`Training.looks` each loss and gradient was looked at before. Says where training stood when
    it diverged."""

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


class TrainingCurves(Callback):
    """Logs what the training steps measured, ``train/…``, as the mean over the texts of each ``every`` steps (one batch
    holds texts of one length, and says little of the others), and ``train/beta`` as the last of these steps had it."""

    def __init__(self, every: int):
        self.every, self.sums, self.texts = every, {}, 0

    def state_dict(self) -> dict[str, Any]:
        return {"sums": {name: float(value) for name, value in self.sums.items()}, "texts": self.texts}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if "texts" in state_dict:  # else of an earlier version, of means over batches
            self.__dict__.update(state_dict)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *_: Any):
        assert isinstance(pl_module, Training)
        self.texts += len(batch)
        for name, value in pl_module.measured.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.double() * len(batch)
        if trainer.global_step % self.every:
            return
        values = {f"train/{name}": float(total) / self.texts for name, total in self.sums.items()}
        self.sums, self.texts = {}, 0
        if "train/rate" in values:
            values["train/beta"] = pl_module.beta
        for logger in trainer.loggers:
            logger.log_metrics({**values, "epoch": trainer.current_epoch}, step=trainer.global_step - 1)


class Validation(Callback):
    """Shows each validation to the instruments, and logs what they measure as ``val/…``.

    Args:
        settings: of the evaluation. monitor: the figure that selects the best parameters, with ``val/``.
        more: instruments of the user's own.

    Attributes:
        best: what the validation with the lowest monitored figure measured. lowest: that figure.
        step: optimiser steps at the last validation.
    """

    def __init__(self, settings: EvaluationSettings, monitor: str, more: Sequence[Make] = ()):
        self.settings, self.monitor, self.more = settings, monitor, more
        self.lowest, self.step, self.best = float("inf"), -1, {}

    def state_dict(self) -> dict[str, Any]:
        return {"lowest": self.lowest, "step": self.step, "best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.__dict__.update(state_dict)

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule):
        assert isinstance(pl_module, Training)
        model = pl_module.model
        makes = [make for make in applying(model, self.more) if validated(model, make)]
        self.walk, self.names = Walk(Context(model, self.settings, alone=False), makes), validated(model, *makes)

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ):
        assert isinstance(outputs, Terms)
        for name, value in (("distortion", outputs.distortion), ("rate", outputs.rate)):
            if value is not None and not math.isfinite(mean := float(value.mean())):
                raise Diverged(f"{name} {mean} in batch {batch_idx + 1}")
        self.walk.show(outputs)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule):
        assert isinstance(pl_module, Training)
        measured = self.walk.measure()
        values = {name: float(measured[name] or 0.0) for name in self.names if measured.get(name) is not None}
        # already computed from sums over all ranks
        pl_module.log_dict({f"val/{name}": value for name, value in values.items()}, sync_dist=False)
        self.step = trainer.global_step
        if not pl_module.preparing and values[self.monitor.removeprefix("val/")] < self.lowest:
            self.lowest = values[self.monitor.removeprefix("val/")]
            self.best = {**{name: measured[name] for name in values}, "step": self.step}


class Stop(EarlyStopping):
    """Lightning's early stopping, over the validations that count."""

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Training)
        if not pl_module.preparing:
            super().on_validation_end(trainer, pl_module)


class Best(Checkpoint):
    """Keeps the parameters of the best validation that counts: in memory, in ``best.ckpt`` for all who want them, and,
    as its state, in ``last.ckpt``.

    A resumed run thus has the best parameters of the very moment that it goes on from, wherever its folder is now. On
    the disk there may be those of a later moment, as ``best.ckpt`` is written more often: it is replaced, and found
    again by the same steps.

    Args:
        path: of ``best.ckpt``.
        validation: says which validation is the best.

    Attributes:
        step: optimiser steps at the best validation. parameters: the model's state then; None before the first.
    """

    def __init__(self, path: Path, validation: Validation):
        self.path, self.validation = path, validation
        self.step, self.parameters = -1, None

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, "parameters": self.parameters}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.__dict__.update(state_dict)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.parameters is not None:
            self._write(trainer, pl_module)
        elif self.validation.best:
            raise RunError(
                f"{self.path.parent}: the last checkpoint is of an older version, without the best parameters\n"
                "try  force=true to train anew"
            )
        elif trainer.is_global_zero:
            self.path.unlink(missing_ok=True)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.validation.best.get("step") == trainer.global_step:
            self.step = trainer.global_step
            self.parameters = {name: value.cpu().clone() for name, value in pl_module.state_dict().items()}
            self._write(trainer, pl_module)

    def _write(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        hyper = {"hparams_name": "kwargs", "hyper_parameters": dict(pl_module.hparams)}
        content = {"state_dict": self.parameters, "global_step": self.step, **hyper}
        trainer.strategy.save_checkpoint(content, self.path)


class DecayAndReload(Callback):
    """Multiplies the learning rate by ``factor`` after ``patience`` validations without a better bound, and goes back
    to the best parameters; what is to be bettered is from then on the bound at which that happened, however bad. The
    decay of number ``limit`` ends training (He et al. 2019, their released code).

    Args:
        monitor: the metric, the lower the better.
        best: keeps the best parameters.
        factor, patience, start_epoch, limit: see conf/optimizer/sgd.yaml.
    """

    def __init__(self, monitor: str, best: Best, factor: float, patience: int, start_epoch: int, limit: int):
        self.monitor, self.best, self.factor = monitor, best, factor
        self.patience, self.start_epoch, self.limit = patience, start_epoch, limit
        self.lowest, self.bad, self.decays, self.reload = float("inf"), 0, 0, False

    def state_dict(self) -> dict[str, Any]:
        return {"lowest": self.lowest, "bad": self.bad, "decays": self.decays, "reload": self.reload}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.__dict__.update(state_dict)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule):
        value = float(trainer.callback_metrics[self.monitor])
        assert isinstance(pl_module, Training)
        if pl_module.preparing:
            return
        if value < self.lowest:
            self.lowest, self.bad = value, 0
            return
        self.bad += 1
        if self.bad >= self.patience and trainer.current_epoch >= self.start_epoch:
            self.lowest, self.bad, self.decays, self.reload = value, 0, self.decays + 1, True
            if self.decays >= self.limit:
                trainer.should_stop = True

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int):
        """Carried out here, before the next step, so that an interrupted run does it when it resumes."""
        if not self.reload:
            return
        self.reload = False
        if self.best.parameters is not None:
            pl_module.load_state_dict(self.best.parameters)
        for group in trainer.optimizers[0].param_groups:
            group["lr"] *= self.factor


class LastCheckpoint(Checkpoint):
    """Keeps ``last.ckpt``, to resume from: written after each validation and every so many steps, never with parameters
    that are not finite.

    A checkpoint that is due where a validation follows waits for it, since Lightning skips that validation when it
    resumes from before it. None is written after the last batch of an epoch alone, from where Lightning counts epochs
    wrongly, nor while gradients are accumulated, since it would not hold them.
    """

    def __init__(self, path: Path, every: int):
        self.path, self.every = path, every
        self.stepped = True  # whether the last batch ended an optimiser step
        self.stopped = False  # whether training was over at the last checkpoint

    def save(self, trainer: L.Trainer) -> None:
        model: Training = trainer.lightning_module  # pyright: ignore[reportAssignmentType]
        model.require_finite()
        for logger in trainer.loggers:
            if isinstance(logger, CsvLogger):
                logger.flush()  # a run that resumes from here logs no step before it again
        self.stopped = trainer.should_stop
        trainer.save_checkpoint(self.path)

    def state_dict(self) -> dict[str, Any]:
        return {"stopped": self.stopped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.stopped = state_dict["stopped"]

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.should_stop = self.stopped  # which Lightning forgets, and would go on

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        number, last = batch_idx + 1, trainer.num_training_batches
        self.stepped = number % trainer.accumulate_grad_batches == 0 or number == last
        validates = trainer.enable_validation and number % (trainer.val_check_batch or last) == 0
        if self.stepped and trainer.global_step % self.every == 0 and number != last and not validates:
            self.save(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.stepped and trainer.state.fn == "fit":
            self.save(trainer)
