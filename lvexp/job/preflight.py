"""Checks before training that need torch, the corpus or the run folder."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from lvexp.data import lines
from lvexp.data.module import TextData
from lvexp.errors import ConfigError, DataError
from lvexp.job import checkpoints
from lvexp.job.folder import Folder


def resumable(place: Folder) -> int | None:
    """Rejects damaged checkpoints before anything else is done.

    Returns:
        the step after which a run goes on; None for a new run.
    """
    if not place.last.exists():
        return None
    saved = checkpoints.read(place.last, "force=true, which trains anew")
    if place.best.exists():
        checkpoints.read(place.best, "force=true, which trains anew")
    return int(saved["global_step"])


def device(trainer: Mapping[str, Any]) -> None:
    """Rejects a GPU that is not there, before the corpus is read."""
    kind = trainer["accelerator"]
    there = torch.cuda.is_available() or (kind == "gpu" and torch.backends.mps.is_available())
    if kind in ("gpu", "cuda") and not there:
        build = "; this build of torch is for CPUs" if torch.version.cuda is None and torch.version.hip is None else ""
        raise ConfigError(f"trainer.accelerator={kind}: torch finds no GPU here{build}\ntry  trainer=cpu")


def precision(config: Mapping[str, Any]) -> None:
    """Rejects bf16 on a processor without an LSTM in bf16, which only a trial shows, and a choice among processes."""
    kind, cells = config["trainer"]["precision"], {config[part].get("cell") for part in ("encoder", "decoder")}
    if kind == "auto" and config["trainer"]["devices"] != 1:
        raise ConfigError(
            f"trainer.precision=auto trainer.devices={config['trainer']['devices']}: each process would choose for "
            "itself\ntry  trainer.precision=bf16-mixed | trainer.precision=32-true"
        )
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
    """Number of batches out of ``count`` that a limit of Lightning's leaves; the limit is a whole number or a share."""
    return min(limit, count) if isinstance(limit, int) else int(count * limit)


def lengths(trainer: Mapping[str, Any], batches: int) -> tuple[int, int]:
    """The largest number of optimiser steps that training can take, and the number of epochs in which it does.

    Args:
        trainer: its settings, which limit one of both. batches: of an epoch, before any limit.
    """
    limit = trainer["overfit_batches"] or trainer["limit_train_batches"]
    per_epoch = max(1, math.ceil(limited(batches, limit) / trainer["accumulate_grad_batches"]))
    limits = [trainer["max_steps"]] if trainer["max_steps"] > 0 else []
    if trainer["max_epochs"] > 0:
        limits.append(trainer["max_epochs"] * per_epoch)
    return min(limits), math.ceil(min(limits) / per_epoch)


def batches(trainer: Mapping[str, Any], data: TextData) -> None:
    """Rejects limits that leave no batch, and validation intervals longer than an epoch: both depend on the corpus."""
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


def answers(model: Mapping[str, Any], data: TextData) -> None:
    """Rejects a corpus some of whose answers are not judged, or not with one of two labels, if the model learns to."""
    if "relevance" not in (model.get("requires") or ()):
        return
    if len(data.labels) != 2:
        raise DataError(
            f"an answer is right or wrong, and the labels here are {len(data.labels)}: {', '.join(data.labels[:5])}\n"
            "try  data.columns.label=COLUMN, a column of two values, the last in sorted order for right ones"
        )
    for name, split in data.corpus.splits.items():
        missing = len(split) if split.labels is None else int((split.labels < 0).sum())
        if missing:
            raise DataError(
                f"{missing:,} of the {len(split):,} answers of {name} have no label\n"
                "try  leave them out | data.files: files whose answers are all judged"
            )


def references(evaluation: Mapping[str, Any], data: TextData) -> None:
    """Rejects rewrites of the test texts whose number is not theirs."""
    if (file := evaluation.get("references")) is not None:
        lines.rewrites(str(file), len(data.corpus.splits["test"]))


def objective(wanted: str | list[str] | None, figures: Iterable[str]) -> None:
    """Rejects an objective, or one of several, that no validation of the model measures."""
    there = [name for name in figures if name != "step"]
    for name in wanted if isinstance(wanted, list) else [wanted] if wanted else []:
        if name not in there:
            near = difflib.get_close_matches(str(name), there, 1, 0)
            raise ConfigError(
                f"objective={name}: validations of this model measure {', '.join(there)}\ntry  objective={near[0]}"
            )
