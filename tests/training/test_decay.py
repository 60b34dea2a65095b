"""When plain SGD goes back and takes shorter steps, and when it has done so often enough."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import tiny
import torch

from lvexp.instruments.settings import EvaluationSettings
from lvexp.training.checkpoints import Best
from lvexp.training.decay import DecayAndReload
from lvexp.training.validation import Validation


class Told(L.Trainer):
    """As much of a trainer as the callback looks at."""

    callback_metrics: dict[str, torch.Tensor] = {}  # noqa: RUF012
    optimizers: list[torch.optim.Optimizer] = []  # noqa: RUF012
    current_epoch, should_stop = 0, False

    def __init__(self):
        pass


def after(bounds: list[float], best: Path, **options: Any) -> list[tuple[float, bool]]:
    """Learning rate and whether training is to end, after each validation and the step that follows."""
    training = tiny.training(tiny.model())
    kept = Best(best, Validation(EvaluationSettings(), "val/nelbo"))
    kept.parameters = training.state_dict()
    optimizer = torch.optim.SGD(training.parameters(), lr=1.0)
    trainer = Told()
    trainer.optimizers = [optimizer]
    callback = DecayAndReload("val/nelbo", kept, **{"factor": 0.5, "patience": 2, "start_epoch": 0, **options})
    found = []
    for epoch, bound in enumerate(bounds):
        trainer.current_epoch, trainer.callback_metrics = epoch, {"val/nelbo": torch.tensor(bound)}
        callback.on_validation_end(trainer, training)
        callback.on_train_batch_start(trainer, training, None, 0)
        found.append((optimizer.param_groups[0]["lr"], trainer.should_stop))
    return found


def test_what_is_to_be_bettered_after_a_decay_is_the_bound_that_led_to_it(tmp_path: Path):
    # 9 is bettered by neither 10 nor 12: a decay. 11 is better than 12, though not than 9; then again two that are not
    rates = [rate for rate, _ in after([9, 10, 12, 11, 11.5, 10.5, 10.6, 10.7], tmp_path / "best.ckpt", limit=5)]
    assert rates == [1, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.25]


def test_the_last_decay_ends_training(tmp_path: Path):
    bounds = [9.0, 10, 11, 12, 13, 14, 15]  # each decay resets the count: two more for the next
    assert [ended for _, ended in after(bounds, tmp_path / "best.ckpt", limit=2)] == [False] * 4 + [True] * 3


def test_no_decay_comes_before_its_epoch(tmp_path: Path):
    rates = [rate for rate, _ in after([9.0, 10, 11, 12, 13, 14], tmp_path / "best.ckpt", limit=5, start_epoch=4)]
    assert rates == [1, 1, 1, 1, 0.5, 0.5]
