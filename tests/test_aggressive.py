"""Aggressive training: who is trained when, and when it ends."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import tiny
import torch

from lvexp.anneal.cyclical import Cyclical
from lvexp.anneal.linear import Linear
from lvexp.errors import ConfigError
from lvexp.models.base import LatentModel
from lvexp.regularizers.aggressive import Aggressive
from lvexp.regularizers.base import GROUPS, Progress
from lvexp.regularizers.batch_norm import BatchNorm

INFERENCE, GENERATIVE = ("inference",), ("generative",)


class Trainer:
    """As much of Lightning's as a step asks for."""

    def __init__(self):
        self.num_training_batches, self.current_epoch, self.global_step = 3, 0, 0
        self.callback_metrics: dict[str, Any] = {}


def take(model: LatentModel, optimizer: torch.optim.Optimizer) -> None:
    batch = next(iter(tiny.corpus()))
    model.on_train_batch_start(batch, 0)
    model.training_step(batch, 0).backward()
    model.on_before_optimizer_step(optimizer)
    optimizer.step()
    optimizer.zero_grad()
    model.trainer.global_step += 1


def state(model: LatentModel, optimizer: torch.optim.Optimizer) -> dict[str, list[Any]]:
    """Of each group: its parameters and what the optimiser keeps of them."""
    return {
        group["name"]: copy.deepcopy([(p.detach(), dict(optimizer.state[p])) for p in group["params"]])
        for group in optimizer.param_groups
    }


def same(one: list[Any], other: list[Any]) -> bool:
    return all(
        torch.equal(p, q) and s.keys() == t.keys() and all(torch.equal(s[key], t[key]) for key in s)
        for (p, s), (q, t) in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.SGD])
def test_inner_steps_leave_the_decoder_alone_and_the_outer_step_the_encoder(kind):
    model = tiny.model(remedies=[Aggressive(inner=3, check=15)], scale=1.0)
    model.optimizer = lambda groups: kind(groups, lr=0.1, weight_decay=0.1)
    model._trainer = Trainer()
    optimizer = model.configure_optimizers()
    # a first cycle, so that every group has an optimiser state to be disturbed
    moved = []
    for _ in range(9):
        before = state(model, optimizer)
        take(model, optimizer)
        after = state(model, optimizer)
        moved.append(tuple(group for group in GROUPS if not same(before[group], after[group])))
    assert moved == [INFERENCE, INFERENCE, GENERATIVE] * 3


def test_a_remedy_that_is_part_of_the_posterior_is_trained_with_it():
    shifted = BatchNorm()
    model = tiny.model(remedies=[Aggressive(inner=3, check=15), shifted])
    model.optimizer = torch.optim.SGD
    groups = {group["name"]: group["params"] for group in model.configure_optimizers().param_groups}
    assert any(parameter is shifted.shift for parameter in groups["inference"])
    assert not any(parameter is shifted.shift for parameter in groups["generative"])


def test_a_restart_of_the_schedule_clears_the_optimiser_once_though_the_schedule_waits_in_inner_steps():
    model = tiny.model(remedies=[Aggressive(inner=3, check=15)])
    model.anneal = Cyclical(period=2, cycles=3, restart=True, unit="steps")
    model.optimizer, model._trainer = torch.optim.Adam, Trainer()
    optimizer = model.configure_optimizers()
    counts = []
    encoder = next(model.encoder.parameters())
    for _ in range(12):  # four decoder steps; the second cycle begins with the third
        take(model, optimizer)
        counts.append(int(optimizer.state[encoder]["step"]) if encoder in optimizer.state else 0)
    assert counts == [1, 2, 2, 3, 4, 4, 5, 6, 0, 1, 2, 2]


def plans(remedy: Aggressive, losses: list[float], **metrics: float) -> list[tuple[str, ...]]:
    return [remedy.plan(Progress(step, 0, 9, metrics, loss, 2)) for step, loss in enumerate(losses)]


def test_inner_steps_end_when_the_loss_per_word_of_a_stretch_is_above_that_of_the_one_before():
    remedy = Aggressive(inner=100, check=3)
    losses = [9.0, 9, 9, 8, 8, 8, 10, 6, 9, 0, 0]  # means 9, 8, 8.33: risen after nine
    assert plans(remedy, losses) == [INFERENCE] * 9 + [GENERATIVE] + [INFERENCE]
    assert plans(Aggressive(inner=4, check=3), [1.0] * 8) == ([INFERENCE] * 3 + [GENERATIVE]) * 2
    assert plans(Aggressive(inner=1), [1.0] * 2) == [GENERATIVE] * 2


def test_the_phase_ends_for_good_when_the_mutual_information_falls():
    remedy = Aggressive(inner=2, between=1)
    assert plans(remedy, [1.0] * 2) == [INFERENCE, GENERATIVE]
    assert plans(remedy, [1.0] * 2, **{"val/mi": 0.5}) == [INFERENCE, GENERATIVE]
    assert plans(remedy, [1.0] * 2, **{"val/mi": 0.7}) == [INFERENCE, GENERATIVE]
    assert plans(remedy, [1.0] * 2, **{"val/mi": 0.6}) == [GROUPS, GROUPS]
    assert plans(remedy, [1.0] * 2, **{"val/mi": 2.0}) == [GROUPS, GROUPS]


def test_validations_are_compared_over_enough_decoder_steps_only():
    remedy = Aggressive(inner=2, between=3)
    for information in (0.5, 0.1, 0.7, 0.6, 0.5):  # after 0, 1, 2, 3 and 4 decoder steps: 0.6 alone, with nothing
        assert plans(remedy, [1.0] * 2, **{"val/mi": information}) == [INFERENCE, GENERATIVE]
    for information in (0.1, 0.7):  # after 2 and, in between, 3 since: at 0.7, above 0.6
        assert plans(remedy, [1.0] * 2, **{"val/mi": information}) == [INFERENCE, GENERATIVE]
    assert remedy.information == 0.7
    for information in (0.1, 0.2):
        assert plans(remedy, [1.0] * 2, **{"val/mi": information}) == [INFERENCE, GENERATIVE]
    assert plans(remedy, [1.0], **{"val/mi": 0.65}) == [GROUPS], "three since 0.7, and below it"


def test_the_phase_ends_after_its_epochs():
    remedy = Aggressive(epochs=2)
    assert remedy.plan(Progress(0, 1, 9, {})) == INFERENCE
    assert remedy.plan(Progress(1, 2, 9, {})) == GROUPS


def test_the_schedule_of_beta_waits_during_inner_steps():
    model = tiny.model(remedies=[Aggressive(inner=3)], scale=1.0)
    model.anneal, model.optimizer = Linear(start=0.0, warmup=10, unit="steps"), torch.optim.Adam
    model._trainer = Trainer()
    optimizer, betas = model.configure_optimizers(), []
    for _ in range(7):
        take(model, optimizer)
        betas.append(model.weight)
    assert betas == pytest.approx([0.0, 0.0, 0.0, 0.1, 0.1, 0.1, 0.2])


def test_a_resumed_run_goes_on_where_it_was():
    def fresh() -> LatentModel:
        model = tiny.model(remedies=[Aggressive(inner=6, check=2)], scale=1.0)
        model.optimizer, model._trainer = torch.optim.Adam, Trainer()
        return model

    def run(model: LatentModel, steps: range, optimizer: torch.optim.Optimizer) -> None:
        for step in steps:
            torch.manual_seed(step)
            take(model, optimizer)

    whole, broken, resumed = fresh(), fresh(), fresh()
    run(whole, range(14), whole.configure_optimizers())
    optimizer, other = broken.configure_optimizers(), resumed.configure_optimizers()
    run(broken, range(5), optimizer)
    broken.trainer.callback_metrics = {"val/mi": torch.tensor(0.0)}  # of a validation that no step has seen
    checkpoint: dict[str, Any] = {}
    broken.on_save_checkpoint(checkpoint)
    resumed.load_state_dict(copy.deepcopy(broken.state_dict()))
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    resumed.on_load_checkpoint(checkpoint)
    resumed.trainer.global_step = 5
    assert resumed.validated == {"val/mi": 0.0}
    run(resumed, range(5, 14), other)
    assert all(torch.equal(p, q) for p, q in zip(whole.parameters(), resumed.parameters(), strict=True))


@pytest.mark.parametrize("wrong", [{"inner": 0}, {"check": 0}, {"epochs": 0}])
def test_nonsense_is_refused(wrong: dict[str, int]):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Aggressive(**wrong)
