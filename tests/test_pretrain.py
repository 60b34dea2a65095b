"""Pretraining as an auto-encoder: what is in the loss, what is reset, where the schedule begins."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import torch

from lvexp.anneal.linear import Linear
from lvexp.errors import ConfigError
from lvexp.models.base import LatentModel
from lvexp.networks.recurrent import RecurrentDecoder
from lvexp.regularizers.base import Regularizer
from lvexp.regularizers.free_bits import FreeBits
from lvexp.regularizers.pretrain import Pretrain
from lvexp.regularizers.skip import Skip


def trained(remedy: Pretrain, *others: Regularizer) -> tuple[LatentModel, torch.optim.Optimizer]:
    """A model after a step of its auto-encoder."""
    model = tiny.model(remedies=[remedy, FreeBits(), *others], scale=1.0)
    model.anneal, model.optimizer = Linear(start=0.1, warmup=9, unit="steps"), torch.optim.Adam
    model.renew = lambda: RecurrentDecoder(tiny.V, 3, embedding=6, hidden=7)
    optimizer = model.configure_optimizers()
    model._trainer: Any = SimpleNamespace(
        global_step=0, current_epoch=0, optimizers=[optimizer],
        strategy=SimpleNamespace(broadcast=lambda state: state),
    )  # fmt: skip
    take(model)
    return model, optimizer


def take(model: LatentModel) -> None:
    batch = next(iter(tiny.corpus()))
    model.on_train_batch_start(batch, 0)
    model.training_step(batch, 0).backward()
    (optimizer,) = model.trainer.optimizers
    optimizer.step()
    optimizer.zero_grad()
    model.trainer.global_step += 1


def test_the_rate_is_left_out_and_then_the_schedule_begins():
    model, _ = trained(Pretrain(epochs=2))
    assert model.weight == 0.0
    assert torch.equal(model.measured["loss"], model.measured["distortion"]), "not even a floor"
    assert model.preparing
    model.trainer.current_epoch = 1
    take(model)
    assert model.weight == 0.0
    model.trainer.current_epoch = 2
    for beta in (0.1, 0.2, 0.3):
        take(model)
        assert not model.preparing
        assert model.weight == pytest.approx(beta)
        assert model.measured["loss"] > model.measured["distortion"]


@pytest.mark.parametrize("reset", ["decoder", "none"])
def test_the_decoder_alone_begins_anew(reset: str):
    model, optimizer = trained(Pretrain(epochs=1, reset=reset))
    decoder, encoder = ([p.detach().clone() for p in part.parameters()] for part in (model.decoder, model.encoder))
    model.trainer.current_epoch = 1
    torch.manual_seed(3)
    model.on_train_batch_start(next(iter(tiny.corpus())), 0)
    torch.manual_seed(3)
    fresh = RecurrentDecoder(tiny.V, 3, embedding=6, hidden=7)
    expected = list(fresh.parameters()) if reset == "decoder" else decoder
    assert all(torch.equal(p, q) for p, q in zip(expected, model.decoder.parameters(), strict=True))
    assert all(torch.equal(p, q) for p, q in zip(encoder, model.encoder.parameters(), strict=True))
    assert all((p in optimizer.state) == (reset == "none") for p in model.decoder.parameters())
    assert all(p in optimizer.state for p in model.encoder.parameters())
    take(model)  # the optimiser goes on with the same parameters, their state new
    assert all(p in optimizer.state for p in model.decoder.parameters())


def test_what_a_remedy_added_to_the_decoder_begins_anew_too():
    model, _ = trained(Pretrain(epochs=1), Skip())
    (share,) = model.decoder.skip
    with torch.no_grad():
        share.weight.fill_(99.0)
    model.trainer.current_epoch = 1
    take(model)
    assert share.weight.abs().max() < 1


def test_a_resumed_run_does_not_reset_again():
    model, _ = trained(Pretrain(epochs=1))
    model.trainer.current_epoch, model.trainer.callback_metrics = 1, {}
    take(model)
    checkpoint: dict[str, Any] = {}
    model.on_save_checkpoint(checkpoint)
    again, _ = trained(Pretrain(epochs=1))
    again.on_load_checkpoint(checkpoint)
    again.trainer.current_epoch, again.trainer.global_step = 1, 2
    before = [p.detach().clone() for p in again.parameters()]
    again.on_train_batch_start(next(iter(tiny.corpus())), 0)
    assert all(torch.equal(p, q) for p, q in zip(before, again.parameters(), strict=True))
    assert again.scheduled == model.scheduled == pytest.approx(0.2)


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"reset": "encoder"}])
def test_nonsense_is_refused(wrong: dict[str, Any]):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Pretrain(**wrong)
