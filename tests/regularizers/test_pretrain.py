"""Pretraining as an auto-encoder: what is in the loss, what is reset, where the schedule begins."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import torch

from lvexp.anneal.linear import Linear
from lvexp.errors import ConfigError
from lvexp.networks.recurrent import RecurrentDecoder
from lvexp.regularizers.base import Regularizer
from lvexp.regularizers.free_bits import FreeBits
from lvexp.regularizers.pretrain import Pretrain
from lvexp.regularizers.skip import Skip
from lvexp.training.module import Training


def trained(remedy: Pretrain, *others: Regularizer) -> tuple[Training, torch.optim.Optimizer]:
    """The training of a model after a step of its auto-encoder."""
    model = tiny.model(remedies=[remedy, FreeBits(), *others], scale=1.0)
    training = tiny.training(model, Linear(start=0.1, warmup=9, unit="steps"), torch.optim.Adam)
    training.new_decoder = lambda: RecurrentDecoder(tiny.V, 3, embedding=6, hidden=7)
    optimizer = training.configure_optimizers()
    training._trainer: Any = SimpleNamespace(
        global_step=0, current_epoch=0, num_training_batches=3, optimizers=[optimizer],
        strategy=SimpleNamespace(broadcast=lambda state: state),
    )  # fmt: skip
    take(training)
    return training, optimizer


def take(training: Training) -> None:
    batch = next(iter(tiny.corpus()))
    training.on_train_batch_start(batch, 0)
    training.training_step(batch, 0).backward()
    (optimizer,) = training.trainer.optimizers
    optimizer.step()
    optimizer.zero_grad()
    training.trainer.global_step += 1


def test_the_rate_is_left_out_and_then_the_schedule_begins():
    training, _ = trained(Pretrain(epochs=2))
    assert training.beta == 0.0
    assert torch.equal(training.measured["loss"], training.measured["distortion"]), "not even a floor"
    assert training.preparing
    training.trainer.current_epoch = 1
    take(training)
    assert training.beta == 0.0
    training.trainer.current_epoch = 2
    for beta in (0.1, 0.2, 0.3):
        take(training)
        assert not training.preparing
        assert training.beta == pytest.approx(beta)
        assert training.measured["loss"] > training.measured["distortion"]


@pytest.mark.parametrize("reset", ["decoder", "none"])
def test_the_decoder_alone_begins_anew(reset: str):
    training, optimizer = trained(Pretrain(epochs=1, reset=reset))
    decoder, encoder = (
        [p.detach().clone() for p in part.parameters()] for part in (training.model.decoder, training.model.encoder)
    )
    training.trainer.current_epoch = 1
    torch.manual_seed(3)
    training.on_train_batch_start(next(iter(tiny.corpus())), 0)
    torch.manual_seed(3)
    fresh = RecurrentDecoder(tiny.V, 3, embedding=6, hidden=7)
    expected = list(fresh.parameters()) if reset == "decoder" else decoder
    assert all(torch.equal(p, q) for p, q in zip(expected, training.model.decoder.parameters(), strict=True))
    assert all(torch.equal(p, q) for p, q in zip(encoder, training.model.encoder.parameters(), strict=True))
    assert all((p in optimizer.state) == (reset == "none") for p in training.model.decoder.parameters())
    assert all(p in optimizer.state for p in training.model.encoder.parameters())
    take(training)  # the optimiser goes on with the same parameters, their state new
    assert all(p in optimizer.state for p in training.model.decoder.parameters())


def test_what_a_remedy_added_to_the_decoder_begins_anew_too():
    training, _ = trained(Pretrain(epochs=1), Skip())
    (share,) = training.model.decoder.skip
    with torch.no_grad():
        share.weight.fill_(99.0)
    training.trainer.current_epoch = 1
    take(training)
    assert share.weight.abs().max() < 1


def test_a_resumed_run_does_not_reset_again():
    training, _ = trained(Pretrain(epochs=1))
    training.trainer.current_epoch, training.trainer.callback_metrics = 1, {}
    take(training)
    checkpoint: dict[str, Any] = {}
    training.on_save_checkpoint(checkpoint)
    again, _ = trained(Pretrain(epochs=1))
    again.on_load_checkpoint(checkpoint)
    again.trainer.current_epoch, again.trainer.global_step = 1, 2
    before = [p.detach().clone() for p in again.parameters()]
    again.on_train_batch_start(next(iter(tiny.corpus())), 0)
    assert all(torch.equal(p, q) for p, q in zip(before, again.parameters(), strict=True))
    assert again.scheduled == training.scheduled == pytest.approx(0.2)


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"reset": "encoder"}])
def test_nonsense_is_refused(wrong: dict[str, Any]):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Pretrain(**wrong)
