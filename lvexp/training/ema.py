"""An average of the parameters over training, which validations and the report use."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint

from lvexp.training.module import Training


class Ema(Checkpoint):
    r"""Exponential moving average of the parameters (Polyak and Juditsky 1992),

    .. math:: \bar\theta_t = d_t \bar\theta_{t-1} + (1 - d_t) \theta_t, \quad d_t = \min(d, (1 + t) / (10 + t))

    with t optimiser steps since its start. Training goes on from θ; validations see the average, so ``best.ckpt`` and
    the report are of it. It starts with the first step that is no preparation (``regularizer=pretrain``).

    It counts as a callback that saves, so that it acts between the two that do: ``best.ckpt`` is of the average,
    ``last.ckpt`` holds both.

    Args:
        decay: d, per optimiser step.
    """

    def __init__(self, decay: float = 0.999):
        self.decay, self.step, self.count = decay, 0, 0
        self.average: dict[str, torch.Tensor] = {}  # of the model's state; empty before the start
        self._own: dict[str, torch.Tensor] = {}  # what training goes on from, while a validation sees the average

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, "count": self.count, "average": self.average}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.__dict__.update(state_dict)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.average = {name: value.to(pl_module.device) for name, value in self.average.items()}

    @torch.no_grad()
    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        assert isinstance(pl_module, Training)
        if trainer.global_step == self.step or pl_module.preparing:
            return
        self.step, self.count = trainer.global_step, self.count + 1
        state = pl_module.state_dict()
        if not self.average:
            self.average = {name: value.clone() for name, value in state.items()}
            return
        weight = 1 - min(self.decay, (1 + self.count) / (10 + self.count))
        for name, value in state.items():
            if value.is_floating_point():
                self.average[name].lerp_(value, weight)
            else:
                self.average[name].copy_(value)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.average:
            self._own = {name: value.clone() for name, value in pl_module.state_dict().items()}
            pl_module.load_state_dict(self.average)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._own:
            pl_module.load_state_dict(self._own)
            self._own = {}
