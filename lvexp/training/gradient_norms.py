"""The norm of the gradients, by parameter group."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch import nn

from lvexp.training.module import Training


class GradientNorms(Callback):
    """Logs ``train/gradient_norm_<group>``: the Euclidean norm of the gradient of each parameter group that a step
    trains, before clipping, averaged like the other figures of training steps."""

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Any) -> None:
        assert isinstance(pl_module, Training)
        for group in optimizer.param_groups:
            gradients = [parameter.grad for parameter in group["params"] if parameter.grad is not None]
            if gradients and group["name"] in pl_module.trained:
                pl_module.measured[f"gradient_norm_{group['name']}"] = nn.utils.get_total_norm(gradients)
