"""What is looked at before a training begins and only torch, the corpus or the run folder can tell."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from lvexp.data.module import TextData
from lvexp.errors import ConfigError
from lvexp.job import checkpoints
from lvexp.job.folder import Folder


def resumable(place: Folder) -> None:
    """Refuses to resume from damaged checkpoints before anything else is done."""
    if place.last.exists():
        checkpoints.read(place.last, "force=true, which trains anew")
        if place.best.exists():
            checkpoints.read(place.best, "force=true, which trains anew")


def precision(config: Mapping[str, Any]) -> None:
    """Refuses bf16 on a processor whose LSTM has no such form: only a try tells."""
    kind, cells = config["trainer"]["precision"], {config[part].get("cell") for part in ("encoder", "decoder")}
    if config["trainer"]["accelerator"] != "cpu" or not kind.startswith("bf16") or "lstm" not in cells:
        return
    try:
        with torch.autocast("cpu", torch.bfloat16):
            torch.nn.LSTM(1, 1)(torch.zeros(1, 1, 1))
    except RuntimeError:
        raise ConfigError(
            f"trainer.precision={kind}: this processor has no LSTM in bf16\n"
            "try  trainer.precision=32-true | encoder=gru decoder=gru (slow here)"
        ) from None


def limited(count: int, limit: float) -> int:
    """How many of ``count`` batches a limit of Lightning's leaves: a whole number of them, or a share."""
    return min(limit, count) if isinstance(limit, int) else int(count * limit)


def batches(trainer: Mapping[str, Any], data: TextData) -> None:
    """Refuses limits that leave no batch, and validations further apart than an epoch is long: both depend on
    the corpus."""
    counts = {"train": data.steps_per_epoch, "val": len(data.val_dataloader())}
    for split, count in counts.items():
        key = "overfit_batches" if trainer["overfit_batches"] else f"limit_{split}_batches"
        limit = trainer[key]
        counts[split] = limited(count, limit)
        if not counts[split]:
            raise ConfigError(
                f"trainer.{key}={limit}: leaves none of the {count:,} batches of {split}\n"
                f"try  trainer.{key}=1, a whole number of batches | a larger share"
            )
    every = trainer["val_check_interval"]
    if isinstance(every, int) and every > counts["train"]:
        raise ConfigError(
            f"trainer.val_check_interval={every}: an epoch has {counts['train']:,} batches\n"
            "try  trainer.val_check_interval=1.0, once in an epoch"
        )


def objective(wanted: str | None, figures: Iterable[str]) -> None:
    """Refuses an objective that no validation of the model measures."""
    there = [name for name in figures if name != "step"]
    if wanted and wanted not in there:
        near = difflib.get_close_matches(str(wanted), there, 1, 0)
        raise ConfigError(
            f"objective={wanted}: validations of this model measure {', '.join(there)}\ntry  objective={near[0]}"
        )
