"""The two checkpoints of a run: the best parameters, and the latest state, to resume from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from lvexp.errors import RunError
from lvexp.training.csv_logger import CsvLogger
from lvexp.training.module import Training
from lvexp.training.validation import Validation


class Best(Checkpoint):
    """Keeps the parameters of the best validation that counts: in memory, in ``best.ckpt`` for other programs, and, as
    the callback's state, in ``last.ckpt``.

    A resumed run therefore has the best parameters as of the moment from which it continues, even if its folder was
    moved. ``best.ckpt`` on disk may be from a later moment, because it is written more often; it is then overwritten,
    and the same steps will produce it again.

    Args:
        path: of ``best.ckpt``.
        validation: determines which validation is the best.

    Attributes:
        step: number of optimiser steps at the best validation. parameters: the model's state then; None before the
            first validation.
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


class LastCheckpoint(Checkpoint):
    """Writes ``last.ckpt``, from which a run resumes, after each validation and every ``every`` steps, but never with
    parameters that are not finite.

    If a validation follows directly, the checkpoint is written after it, because Lightning would skip the validation
    when resuming from before it. After the last batch of an epoch, a checkpoint is written only with a validation,
    because otherwise Lightning counts epochs wrongly on resuming. While gradients are being accumulated none is
    written, because it would not contain them.
    """

    def __init__(self, path: Path, every: int):
        self.path, self.every = path, every
        self.stepped = True  # whether the last batch ended an optimiser step
        self.stopped = False  # whether training had ended at the last checkpoint

    def save(self, trainer: L.Trainer) -> None:
        model: Training = trainer.lightning_module  # pyright: ignore[reportAssignmentType]
        model.require_finite()
        for logger in trainer.loggers:
            if isinstance(logger, CsvLogger):
                logger.flush()  # a run that resumes from here does not log earlier steps again
        self.stopped = trainer.should_stop
        trainer.save_checkpoint(self.path)

    def state_dict(self) -> dict[str, Any]:
        return {"stopped": self.stopped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.stopped = state_dict["stopped"]

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.should_stop = self.stopped  # Lightning does not save it and would continue training

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
