"""Whatever instant a job is killed at, what its next run reads is of one moment, and it ends where it would have."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from helpers import Compose, plain

from lvexp import build, run
from lvexp.job.command import quiet
from lvexp.job.folder import Folder
from lvexp.training.csv_logger import CsvLogger, read_metrics
from lvexp.training.progress import Progress


def fit(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What a run does before its report."""
    L.seed_everything(config["seed"], verbose=False)
    data = build.data(config)
    model = build.model(config, data.vocabulary)
    training = build.training(config, model, data.steps_per_epoch)
    logger = CsvLogger(folder)
    place = Folder(folder, "run")
    trainer, validation, best = run._trainer(config, place, training, [logger], Progress())
    run._fit(trainer, validation, training, data, place)
    run._load_best(model, best)
    logger.flush()
    kept = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    epochs = trainer.fit_loop.epoch_progress.current.ready
    return {
        "parameters": model.state_dict(), "kept": kept["state_dict"], "best": validation.best,
        "steps": (trainer.global_step, epochs, kept["global_step"]),
        "rows": read_metrics(folder / "metrics.csv"),
    }  # fmt: skip


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def moment(folder: Path) -> tuple[int, int, bool]:
    """Steps of last.ckpt and of best.ckpt, and whether the former has a return to the latter before it."""
    files = (folder / "checkpoints" / name for name in ("last.ckpt", "best.ckpt"))
    last, best = (torch.load(file, weights_only=True) if file.exists() else {} for file in files)
    pending = last.get("callbacks", {}).get("DecayAndReload", {}).get("reload", False)
    return last.get("global_step", -1), best.get("global_step", -1), pending


DECAY = ["optimizer=sgd", *(f"optimizer.decay.{more}" for more in ("start_epoch=0", "patience=1", "limit=50"))]
CASES = {
    "sgd-decay": ["model=rnnlm", *DECAY, "optimizer.lr=8", "trainer.patience=0", "trainer.val_check_interval=0.2",
        "trainer.max_epochs=2"],
    "stopped-early": [*DECAY[:1], "encoder.norm=false", "optimizer.lr=9", "trainer.patience=1",
        "trainer.val_check_interval=0.4"],
    "stopped-by-decays": [*DECAY[:-1], "encoder.norm=false", "optimizer.decay.limit=1", "optimizer.lr=20",
        "trainer.val_check_interval=0.4"],
    "pretrain-ends-between-validations": [
        "regularizer=[pretrain,free_bits]", "regularizer.pretrain.epochs=1", "trainer.max_steps=13",
        "optimizer.lr=0.02",
    ],
    "accumulated": [
        "trainer.accumulate_grad_batches=2", "trainer.val_check_interval=0.4", "trainer.checkpoint_steps=1",
        "trainer.max_epochs=2",
    ],
    "plateau": [
        "scheduler=plateau", "scheduler.patience=0", "optimizer.lr=0.1", "trainer.val_check_interval=0.4",
        "trainer.patience=0",
    ],
    "epochs": ["scheduler=step", "scheduler.step_size=1", "trainer.val_check_interval=0.4"],
    "one-cycle-of-an-average": ["scheduler=one_cycle", "callbacks=ema", "callbacks.ema.decay=0.5"],
}  # fmt: skip


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.slow] if case == "accumulated" else []) for case in CASES]
)
def test_whatever_a_kill_leaves_and_wherever_it_is_moved_it_ends_the_same(
    case: str, small: list[str], composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    usual = ["trainer.max_epochs=3", "trainer.limit_train_batches=5", "trainer.checkpoint_steps=7"]
    config = plain(composed(*small, *usual, *CASES[case]))
    quiet()
    (whole := tmp_path / "whole").mkdir()
    left: list[Path] = []
    replace = os.replace

    def photographed(*names: Any) -> None:
        left.append(shutil.copytree(whole, tmp_path / f"left-{len(left)}"))
        replace(*names)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", photographed)
        wanted = fit(config, whole)
    left.append(whole)  # killed in the evaluation
    seen = [moment(folder) for folder in left]
    first = [number for number, known in enumerate(seen) if known not in seen[:number]]  # of those that read the same
    for number in [*first, len(left) - 1]:
        found = fit(config, left[number])
        for key, value in wanted.items():
            assert equal(found[key], value), (number, len(left), seen[number], key)
    assert any(best > last for last, best, _ in seen), "a best.ckpt from after last.ckpt was met"
    if case == "sgd-decay":
        assert any(best > last > 0 and pending for last, best, pending in seen)
    if case.startswith("stopped"):
        assert seen[-1][0] == wanted["steps"][0] < 15, "training stopped before its time"
