"""One validation by Lightning's own loop."""

from __future__ import annotations

import warnings
from pathlib import Path

import kinds
import lightning as L
import tiny
import torch

from lvexp.training.steps import Seeds
from lvexp.training.validation import Validation


def validations(kind: str, folder: Path, *more) -> dict[str, float]:
    """What a validation of this kind of model logs."""
    training = tiny.training(kinds.MODELS[kind]())
    loader = torch.utils.data.DataLoader(kinds.texts(kind), batch_size=None)  # pyright: ignore[reportArgumentType]
    callbacks = [Seeds(1), Validation(kinds.SETTINGS, f"val/{training.model.monitor[0]}", more)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\.")  # advises on loaders with few workers
        trainer = L.Trainer(
            accelerator="cpu", devices=1, logger=False, callbacks=callbacks, enable_progress_bar=False,
            enable_checkpointing=False, enable_model_summary=False, default_root_dir=folder,
        )  # fmt: skip
        trainer.validate(training, loader, verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}
