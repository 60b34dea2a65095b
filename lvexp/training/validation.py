"""Validations with the true bound, and early stopping based on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, EarlyStopping

from lvexp.errors import Diverged
from lvexp.instruments.base import Context
from lvexp.instruments.evaluate import Make, Walk, applying, validated
from lvexp.instruments.settings import EvaluationSettings
from lvexp.terms import Terms
from lvexp.training.module import Training


class Validation(Callback):
    """Passes each validation to the instruments, and logs their figures as ``val/…``.

    Args:
        settings: of the evaluation. monitor: the figure that selects the best parameters, with ``val/``.
        more: the user's own instruments.

    Attributes:
        best: figures of the validation with the lowest monitored figure. lowest: that figure.
        step: number of optimiser steps at the last validation.
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
    """Lightning's early stopping, restricted to the validations that count."""

    def __init__(self, monitor: str, patience: int):
        super().__init__(monitor, patience=patience, mode="min", check_on_train_epoch_end=False)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Training)
        if not pl_module.preparing:
            super().on_validation_end(trainer, pl_module)
