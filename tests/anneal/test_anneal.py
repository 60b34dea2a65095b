"""Schedules: what they are at their ends, halfway and between; the restart of the optimiser."""

from __future__ import annotations

import itertools
import math
import runpy
from pathlib import Path

import pytest
import tiny
import torch
from helpers import Compose, checked
from hydra.utils import instantiate
from omegaconf import OmegaConf

from lvexp.__main__ import MENU
from lvexp.anneal.base import AbstractAnneal
from lvexp.anneal.cosine import Cosine
from lvexp.anneal.cyclical import Cyclical
from lvexp.anneal.linear import Linear
from lvexp.anneal.sigmoid import Sigmoid
from lvexp.data.batch import Batch
from lvexp.data.special import BOS, EOS
from lvexp.errors import ConfigError
from lvexp.job.identity import arguments

OPTIONS = sorted(path.stem for path in (MENU / "anneal").glob("*.yaml"))
RISES = [Linear, Sigmoid, Cosine]


def rising(schedule: AbstractAnneal, steps: range) -> bool:
    values = [schedule(step) for step in steps]
    return all(low < high for low, high in itertools.pairwise(values))


@pytest.mark.parametrize("name", OPTIONS)
def test_every_schedule_is_finite_not_negative_and_constant_once_it_has_settled(name: str):
    node = OmegaConf.to_container(OmegaConf.load(MENU / "anneal" / f"{name}.yaml"))
    beta = instantiate(arguments(node), steps_per_epoch=7)
    last = beta.settled()
    values = [beta(step) for step in range(last + 50)]
    assert all(math.isfinite(value) and value >= 0 for value in values)
    assert set(values[last:]) == {values[-1]}
    assert last == 0 or values[last - 1] != values[last], "it settles no earlier than it says"


@pytest.mark.parametrize("kind", RISES)
def test_a_rise_hits_both_ends_exactly_and_rises_all_the_way(kind):
    beta = kind(start=0.2, end=0.9, warmup=3, unit="epochs", steps_per_epoch=40)
    assert beta(0) == pytest.approx(0.2, abs=1e-15)
    assert beta(60) == pytest.approx(0.55, abs=1e-15), "halfway up in the middle"
    assert beta(120) == beta(10**6) == 0.9
    assert beta.settled() == 120
    assert rising(beta, range(121))
    for step in range(60):  # point-symmetric about the middle
        assert beta(step) + beta(120 - step) == pytest.approx(1.1)
    assert kind(start=0.2, end=0.9, warmup=120, unit="steps", steps_per_epoch=40)(33) == beta(33)
    assert kind(warmup=0)(0) == 1.0, "no warm-up, no division by nothing"
    falling = kind(start=1.0, end=0.5, warmup=10, unit="steps")
    assert falling(0) == 1.0
    assert falling(10) == 0.5
    with pytest.raises(ConfigError, match=r"anneal\.unit"):
        kind(unit="weeks")


def test_the_sigmoid_is_the_logistic_curve_rescaled():
    beta, k = Sigmoid(start=0, end=1, warmup=200, steepness=8, unit="steps"), 8

    def logistic(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    low, high = logistic(-k / 2), logistic(k / 2)
    for step in (1, 40, 100, 173):
        assert beta(step) == pytest.approx((logistic(k * (step / 200 - 0.5)) - low) / (high - low))
    almost_a_line = Sigmoid(start=0, end=1, warmup=200, steepness=1e-4, unit="steps")
    assert almost_a_line(50) == pytest.approx(0.25, abs=1e-6)
    assert Sigmoid(warmup=200, steepness=2000, unit="steps")(90) < 1e-9, "as steep as one likes, without overflow"
    with pytest.raises(ConfigError, match="steepness"):
        Sigmoid(steepness=0)


def test_the_cosine_is_half_a_wave():
    beta = Cosine(start=0, end=1, warmup=12, unit="steps")
    assert [beta(step) for step in (0, 4, 6, 8, 12)] == pytest.approx([0, 0.25, 0.5, 0.75, 1])


@pytest.mark.parametrize("shape", ["linear", "cosine", "sigmoid"])
def test_a_cyclical_schedule_repeats_its_cycle_and_then_stays(shape: str):
    beta = Cyclical(start=0.1, end=1, period=2, cycles=3, ratio=0.4, shape=shape, steps_per_epoch=10)
    cycle = [beta(step) for step in range(20)]
    assert cycle[0] == pytest.approx(0.1)
    assert cycle[8:] == [1.0] * 12
    assert rising(beta, range(9))
    assert [beta(step) for step in range(60)] == cycle * 3
    assert {beta(step) for step in range(60, 200)} == {1.0}
    assert beta.settled() == 48


def test_cycles_by_hand():
    beta = Cyclical(start=0, end=1, period=8, cycles=2, ratio=0.5, unit="steps")
    assert [beta(step) for step in range(18)] == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1, 1, 1] * 2 + [1, 1])
    whole = Cyclical(start=0, end=1, period=4, cycles=2, ratio=1, unit="steps")
    assert [whole(step) for step in range(10)] == pytest.approx([0, 0.25, 0.5, 0.75] * 2 + [1, 1])


@pytest.mark.parametrize("wrong", [{"shape": "square"}, {"cycles": 0}, {"ratio": 0}, {"ratio": 1.5}, {"period": 0}])
def test_a_cycle_that_makes_no_sense_is_refused(wrong: dict, composed: Compose):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Cyclical(**wrong)
    (key, value), *_ = wrong.items()
    with pytest.raises(ConfigError, match=f"anneal.{key}={value}"):
        checked(composed("anneal=cyclical", f"anneal.{key}={value}"))


@pytest.mark.parametrize("name", ["sigmoid", "cosine", "cyclical"])
@pytest.mark.parametrize("model", ["rnnlm", "ae"])
def test_a_schedule_without_a_rate_is_refused(name: str, model: str, composed: Compose):
    with pytest.raises(ConfigError, match=f"anneal={name}"):
        checked(composed(f"model={model}", f"anneal={name}"))


def test_restarts_come_at_the_beginnings_of_cycles_but_the_first():
    beta = Cyclical(period=5, cycles=3, restart=True, unit="steps")
    assert [step for step in range(40) if beta.restarts(step)] == [5, 10]
    assert not any(Cyclical(period=5, cycles=3, unit="steps").restarts(step) for step in range(40))
    assert not any(Linear(warmup=5, unit="steps").restarts(step) for step in range(40))


class Trainer:
    """Stands in for Lightning's, as far as a step asks."""

    num_training_batches, current_epoch, global_step = 5, 0, 0

    def __init__(self):
        self.callback_metrics = {}


def train(steps: range, state: dict | None = None) -> tuple[dict, list[int]]:
    """Steps of a tiny model with a cycle of five steps, from a checkpoint where there is one; Adam's count of steps."""
    anneal = Cyclical(period=5, cycles=3, restart=True, unit="steps")
    training = tiny.training(tiny.model(), anneal, torch.optim.Adam)
    training._trainer = Trainer()
    optimizer = training.configure_optimizers()
    if state is not None:
        training.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    counts = []
    for step in steps:
        torch.manual_seed(step)
        training._trainer.global_step = step
        optimizer.zero_grad()
        training.training_step(Batch.of([[BOS, 4, 5, EOS], [BOS, 6, 7, EOS]]), step).backward()
        training.on_before_optimizer_step(optimizer)
        optimizer.step()
        counts.append(int(next(iter(optimizer.state.values()))["step"]))
    return {"model": training.state_dict(), "optimizer": optimizer.state_dict()}, counts


def test_a_restart_clears_adam_and_a_resumed_run_restarts_where_an_uninterrupted_one_does():
    whole, counts = train(range(12))
    assert counts == [1, 2, 3, 4, 5] * 2 + [1, 2]
    for broken in (5, 7):  # just before a restart, and between two
        half, _ = train(range(broken))
        resumed, _ = train(range(broken, 12), half)
        for name, value in whole["model"].items():
            assert torch.equal(value, resumed["model"][name]), name


def test_the_picture_of_all_schedules_is_drawn(tmp_path: Path):
    drawing = runpy.run_path(str(MENU.parent / "scripts" / "draw_schedules"))
    drawing["main"](tmp_path / "schedules.png")
    assert (tmp_path / "schedules.png").stat().st_size > 10_000
