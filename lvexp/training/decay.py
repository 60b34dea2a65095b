"""The learning rate when validations stall: lowered by a scheduler, or with a return to the best parameters."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from lvexp.training.checkpoints import Best
from lvexp.training.module import Training


class DecayAndReload(Callback):
    """Multiplies the learning rate by ``factor`` after ``patience`` validations without improvement of the monitored
    metric, and returns to the best parameters. From then on, improvement is measured against the metric's value at the
    decay, even if that is worse than the best. After ``limit`` decays training ends (He et al. 2019, their released
    code).

    Args:
        monitor: the metric; lower is better.
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
        """Carries out the decay, before the next step, so that an interrupted run does it when it resumes."""
        if not self.reload:
            return
        self.reload = False
        if self.best.parameters is not None:
            pl_module.load_state_dict(self.best.parameters)
        for group in trainer.optimizers[0].param_groups:
            group["lr"] *= self.factor


class Plateau(Callback):
    """Shows each validation that counts to a scheduler that lowers the learning rate when they stall, before
    ``last.ckpt`` is written.

    Args:
        monitor: the metric; lower is better.
    """

    def __init__(self, monitor: str):
        self.monitor = monitor

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule):
        assert isinstance(pl_module, Training)
        if trainer.state.fn == "fit" and not pl_module.preparing:
            scheduler: Any = pl_module.lr_schedulers()
            scheduler.step(float(trainer.callback_metrics[self.monitor]))
