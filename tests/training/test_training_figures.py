"""What training logs: means over texts, and one beta."""

from __future__ import annotations

from unittest import mock

import lightning as L
import pytest
import tiny
import torch

from lvexp.anneal.linear import Linear
from lvexp.data.batch import Batch
from lvexp.regularizers.control_kl import ControlKL
from lvexp.training.progress import Progress
from lvexp.training.steps import TrainingCurves


class Trainer:
    """As much of one as a training step asks for."""

    def __init__(self):
        self.global_step, self.current_epoch, self.callback_metrics, self.num_training_batches = 0, 0, {}, 10
        self.world_size, self.max_epochs, self.logger_connector = 1, 1, None


def watched(step: int):
    logger, trainer = mock.Mock(), mock.create_autospec(L.Trainer, instance=True, global_step=step)
    trainer.loggers = [logger]
    return logger, trainer


def test_curves_weigh_texts_and_not_batches():
    """Thirty short texts and two long ones: the mean over texts, not halfway between."""
    training, curves = tiny.training(tiny.model()), TrainingCurves(2)
    measured = {30: 10.0, 2: 100.0}
    for step, (texts, nats) in enumerate(measured.items(), 1):
        training.measured = {"distortion": torch.tensor(nats)}
        logger, trainer = watched(step)
        curves.on_train_batch_end(trainer, training, None, tiny.encode(*["a"] * texts), 0)
    expected = (30 * 10.0 + 2 * 100.0) / 32
    assert logger.log_metrics.call_args[0][0]["train/distortion"] == pytest.approx(expected)


def test_curves_go_on_where_a_checkpoint_left_them():
    training, curves, again = tiny.training(tiny.model()), TrainingCurves(2), TrainingCurves(2)
    training.measured = {"distortion": torch.tensor(10.0)}
    curves.on_train_batch_end(watched(1)[1], training, None, tiny.encode("a", "b", "c"), 0)
    again.load_state_dict(curves.state_dict())
    training.measured = {"distortion": torch.tensor(50.0)}
    logger, trainer = watched(2)
    again.on_train_batch_end(trainer, training, None, tiny.encode("a"), 0)
    assert logger.log_metrics.call_args[0][0]["train/distortion"] == pytest.approx(20.0)
    old = TrainingCurves(2)
    old.load_state_dict({"sums": {"distortion": 99.0}, "steps": 1})  # of means over batches
    old.on_train_batch_end(trainer, training, None, tiny.encode("a"), 0)
    assert logger.log_metrics.call_args[0][0]["train/distortion"] == pytest.approx(50.0)


@pytest.mark.parametrize("remedies", [[], [ControlKL(nats=1.0, kp=0.5, ki=0.01, lowest=0.1)]], ids=["schedule", "own"])
def test_beta_is_one_number(remedies):
    """After a step, and after the schedule's and the controller's clocks have moved on: what that step was weighed by,
    in the model, in the bar and in the log."""
    anneal = None if remedies else Linear(0.0, 1.0, 10, "steps", 10)
    training = tiny.training(tiny.model(remedies=remedies), anneal)
    optimizer = training.configure_optimizers()
    training._trainer = trainer = Trainer()
    for step in range(4):
        trainer.global_step = step
        weighed = training.scheduled * float(remedies[0].beta if remedies else 1.0)
        training.training_step(Batch.of([[1, 4, 5, 2]]), step)
        training.on_before_optimizer_step(optimizer)
        trainer.global_step = step + 1
        logger, watching = watched(step + 1)
        TrainingCurves(1).on_train_batch_end(watching, training, None, tiny.encode("a"), 0)
        bar = Progress(bar=False)
        bar._sums, bar._texts = {"distortion": 1.0, "rate": 1.0}, 1
        assert training.beta == pytest.approx(weighed)
        assert logger.log_metrics.call_args[0][0]["train/beta"] == training.beta
        assert f"β {weighed:.2f}" in bar._figures(training)
    assert weighed != pytest.approx(1.0)
