"""The remedies that hold the rate at a number: target_kl, control_kl, mdr."""

from __future__ import annotations

import copy
import math
from unittest import mock

import lightning as L
import pytest
import tiny
import torch
from helpers import Compose, checked

from lvexp.data.batch import Batch
from lvexp.errors import ConfigError
from lvexp.regularizers.base import Progress, Regularizer
from lvexp.regularizers.control_kl import ControlKL
from lvexp.regularizers.mdr import MDR
from lvexp.regularizers.target_kl import TargetKL
from lvexp.training.steps import TrainingCurves

RATES = torch.tensor([1.0, 3.0, 8.0])  # mean 4
KINDS = [TargetKL, ControlKL, MDR]


def progress(step: int, per_epoch: int = 10) -> Progress:
    return Progress(step, step // per_epoch, per_epoch, {})


def priced(remedy: Regularizer, rates: torch.Tensor = RATES) -> torch.Tensor:
    """What a loss with beta = 1 holds in place of the rate."""
    return remedy.weigh(1.0) * remedy.rate(rates, None)


def gradient(remedy: Regularizer) -> list[float]:
    rates = RATES.clone().requires_grad_()
    priced(remedy, rates).mean().backward()
    return (3 * rates.grad).tolist()


class Channel(torch.nn.Module):
    r"""A Gaussian channel: E x² = 1, :math:`q(z|x) = N(ax, s^2)`, :math:`p(z) = N(0, 1)`, :math:`p(x|z) = N(wz, 0.16)`.

    D and R are averages in closed form, the smallest distortion at a rate is :math:`D(R) = 3.125\, e^{-2R}`, and a
    nat of rate is worth :data:`WORTH` :math:`e^{-2R}` nats of distortion.
    """

    def __init__(self):
        super().__init__()
        self.a, self.w = (torch.nn.Parameter(torch.full((1,), 0.3)) for _ in "aw")
        self.log_s = torch.nn.Parameter(torch.zeros(1))

    def forward(self) -> tuple[torch.Tensor, torch.Tensor]:
        s2 = (2 * self.log_s).exp()
        error = (1 - self.w * self.a) ** 2 + self.w**2 * s2
        return WORTH / 2 * error, 0.5 * (s2 + self.a**2 - 1) - self.log_s


WORTH = 6.25


def train(remedy: Regularizer, steps: int = 500) -> torch.Tensor:
    """Adam on D + R'; the rate over the last fifth of the steps."""
    channel = Channel()
    optimizer, rates = torch.optim.Adam(channel.parameters(), 0.03), []
    for step in range(steps):
        distortion, rate = channel()
        optimizer.zero_grad()
        (distortion + priced(remedy, rate)).mean().backward()
        remedy.update(progress(step))
        optimizer.step()
        rates.append(rate.detach())
    return torch.cat(rates[-steps // 5 :])


def test_the_channel_alone_finds_another_rate():
    free = train(Regularizer()).mean().item()
    assert free == pytest.approx(math.log(WORTH) / 2, abs=0.01), "0.92: neither of the targets below"


# --- target_kl -------------------------------------------------------------------------------------------------------


def test_target_kl_is_the_distance_of_the_batch_mean_from_the_target():
    remedy = TargetKL(nats=6, gamma=3)
    assert priced(remedy).tolist() == pytest.approx([6.0, 6.0, 6.0])
    assert gradient(remedy) == pytest.approx([-3.0] * 3), "below the target the rate earns, for all texts alike"
    assert gradient(TargetKL(nats=2, gamma=3)) == pytest.approx([3.0] * 3)


def test_the_target_rises_over_its_warm_up_and_is_in_the_checkpoint():
    remedy = TargetKL(nats=6, gamma=1, warmup=2, unit="epochs")
    seen = []
    for step in range(25):
        seen.append(remedy.target.item())
        remedy.update(progress(step))
    assert seen[:21] == pytest.approx([6 * step / 20 for step in range(21)])
    assert seen[21:] == [6.0] * 4
    assert TargetKL(nats=6).target.item() == 6
    again = TargetKL(nats=6, gamma=1, warmup=2)
    half = TargetKL(nats=6, gamma=1, warmup=2)
    half.update(progress(6))
    again.load_state_dict(half.state_dict())
    assert again.target.item() == pytest.approx(2.1)


@pytest.mark.parametrize("nats", [0.5, 2.0])
def test_target_kl_reaches_its_target_from_both_sides(nats: float):
    rates = train(TargetKL(nats=nats, gamma=5))
    assert rates.mean().item() == pytest.approx(nats, abs=0.05)


def test_target_kl_gives_way_where_a_nat_is_worth_more_than_gamma():
    rates = train(TargetKL(nats=0.1, gamma=2))
    assert rates.mean().item() == pytest.approx(math.log(WORTH / 2) / 2, abs=0.01)


# --- control_kl ------------------------------------------------------------------------------------------------------


def test_control_kl_is_the_formula_of_the_paper():
    remedy = ControlKL(nats=5, kp=0.4, ki=0.01, lowest=0.1, highest=1.0)
    assert priced(remedy).tolist() == pytest.approx((0.1 * RATES).tolist()), "the first beta is the smallest"
    total = 0.0
    for step, mean in enumerate([9.0, 7.0, 8.0, 5.0]):
        priced(remedy, torch.full((3,), mean))
        remedy.update(progress(step))
        total += 5 - mean
        expected = 0.4 / (1 + math.exp(5 - mean)) - 0.01 * total + 0.1
        assert remedy.beta.item() == pytest.approx(expected, rel=1e-5)
    assert gradient(remedy) == pytest.approx([remedy.beta.item()] * 3, rel=1e-5)


def test_beta_keeps_within_its_limits_and_leaves_them_at_once():
    remedy = ControlKL(nats=5, kp=0.01, ki=0.001)
    for step in range(3000):  # far below the target for long
        priced(remedy, torch.zeros(3))
        remedy.update(progress(step))
    assert remedy.beta.item() == 0
    priced(remedy, torch.full((3,), 25.0))
    remedy.update(progress(3000))
    assert remedy.beta.item() == pytest.approx(0.03, abs=2e-3), "kp + 20 ki: nothing was wound up"
    for step in range(3000):
        priced(remedy, torch.full((3,), 25.0))
        remedy.update(progress(step))
    assert remedy.beta.item() == 1
    priced(remedy, torch.zeros(3))
    remedy.update(progress(3000))
    assert remedy.beta.item() < 0.999


def test_a_loss_that_is_computed_again_in_a_step_moves_nothing():
    once, often = ControlKL(nats=5), ControlKL(nats=5)
    for step in range(5):
        priced(once)
        for _ in range(step):
            priced(often, RATES * 2)
        priced(often)
        once.update(progress(step))
        often.update(progress(step))
        often.update(progress(step))  # nor does a step without a loss
    assert once.beta.item() == often.beta.item()


@pytest.mark.parametrize(("nats", "ki"), [(0.5, 0.03), (2.0, 0.01)])
def test_control_kl_reaches_its_target_with_the_beta_that_belongs_to_it(nats: float, ki: float):
    remedy = ControlKL(nats=nats, kp=0.1, ki=ki, highest=5)
    rates = train(remedy, steps=1000)
    assert rates.mean().item() == pytest.approx(nats, abs=0.03)
    assert rates.std().item() < 0.05
    assert remedy.beta.item() == pytest.approx(WORTH * math.exp(-2 * nats), abs=0.05)


# --- mdr -------------------------------------------------------------------------------------------------------------


def test_mdr_is_the_lagrangian():
    remedy = MDR(nats=6, damping=0, start=0.4)
    assert priced(remedy).tolist() == pytest.approx((RATES + 0.4 * (6 - RATES)).tolist())
    assert gradient(remedy) == pytest.approx([0.6] * 3), "a nat costs 1 - u"


@pytest.mark.parametrize("nats", [6.0, 3.0])
def test_damped_mdr_has_the_gradient_of_the_augmented_lagrangian(nats: float):
    remedy, u, c = MDR(nats=nats, damping=0.5, start=0.4), 0.4, 0.5
    mean = RATES.mean().requires_grad_()
    (mean + ((u + c * (nats - mean)).clamp(min=0) ** 2 - u**2) / (2 * c)).backward()
    assert gradient(remedy) == pytest.approx([mean.grad.item()] * 3)


def test_the_multiplier_ascends_the_lagrangian_and_is_never_negative():
    remedy = MDR(nats=6, lr=0.1, damping=0, start=0.4)
    u = torch.tensor(0.4, requires_grad=True)
    (RATES + u * (6 - RATES)).mean().backward()
    priced(remedy)
    remedy.update(progress(0))
    assert remedy.multiplier.item() == pytest.approx(0.4 + 0.1 * u.grad.item())
    for step in range(20):
        priced(remedy, RATES + 20)
        remedy.update(progress(step))
    assert remedy.multiplier.item() == 0
    assert torch.equal(priced(remedy), RATES), "where the minimum is met it is the plain bound"


def test_mdr_settles_at_the_minimum_with_the_multiplier_that_belongs_to_it():
    remedy = MDR(nats=2, lr=0.01)
    rates = train(remedy, steps=1000)
    assert rates.mean().item() == pytest.approx(2, abs=0.03)
    assert rates.std().item() < 0.05
    assert 1 - remedy.multiplier.item() == pytest.approx(WORTH * math.exp(-2 * 2), abs=0.02)


def test_mdr_does_nothing_where_the_rate_is_above_the_minimum_anyway():
    remedy = MDR(nats=0.5, lr=0.02)
    rates = train(remedy)
    assert remedy.multiplier.item() == 0
    assert rates.mean().item() == pytest.approx(math.log(WORTH) / 2, abs=0.01)


def test_a_multiplier_without_damping_settles_too_if_it_is_slow():
    assert train(MDR(nats=1.2, lr=0.003, damping=0), steps=1500).mean().item() == pytest.approx(1.2, abs=0.05)


# --- all three -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("remedy", [ControlKL(nats=3, ki=0.003, highest=5), MDR(nats=3, lr=0.005), TargetKL(3, 5, 20)])
def test_a_checkpoint_taken_anywhere_goes_on_as_if_nothing_had_happened(remedy: Regularizer):
    def go(remedy: Regularizer, channel: Channel, optimizer, steps: range) -> None:
        for step in steps:
            distortion, rate = channel()
            optimizer.zero_grad()
            (distortion + priced(remedy, rate)).mean().backward()
            remedy.update(progress(step))
            optimizer.step()

    fresh = copy.deepcopy(remedy)
    one, two = Channel(), Channel()
    first, second = (torch.optim.SGD(channel.parameters(), 0.01) for channel in (one, two))
    go(remedy, one, first, range(37))
    fresh.load_state_dict(remedy.state_dict())
    two.load_state_dict(one.state_dict())
    go(remedy, one, first, range(37, 80))
    go(fresh, two, second, range(37, 80))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(remedy.buffers(), fresh.buffers(), strict=True))


class Trainer:
    """Stands in for Lightning's, as far as a step asks."""

    num_training_batches, current_epoch, global_step, callback_metrics = 5, 0, 0, {}


def trained_rate(remedies: list[Regularizer], steps: int = 220) -> float:
    """The rate of a tiny sentence VAE under Adam, mean of the last hundred steps."""
    training = tiny.training(tiny.model(scale=1, remedies=remedies))
    training._trainer = Trainer()
    optimizer, rates = training.configure_optimizers(), []
    batch = tiny.encode("a b c", "c b a", "d e f", "f e d", "a a a", "f f f", "b d b", "e c e")
    for step in range(steps):
        training._trainer.global_step = step
        optimizer.zero_grad()
        training.training_step(batch, step).backward()
        training.on_before_optimizer_step(optimizer)
        optimizer.step()
        rates.append(training.measured["rate"].item())
    return sum(rates[-100:]) / 100


def test_a_sentence_vae_that_collapses_without_them_keeps_its_rate_with_each():
    assert trained_rate([], steps=150) < 0.1
    assert trained_rate([TargetKL(nats=2)]) == pytest.approx(2, abs=0.1)
    assert trained_rate([ControlKL(nats=2, kp=0.1, ki=0.01)]) == pytest.approx(2, abs=0.2)
    assert trained_rate([MDR(nats=2, lr=0.005, damping=0.5)]) == pytest.approx(2, abs=0.2)


@pytest.mark.parametrize("kind", KINDS)
def test_what_it_holds_is_logged_as_the_loss_had_it(kind: type[Regularizer]):
    remedy = kind()
    training = tiny.training(tiny.model(remedies=[remedy]))
    assert not list(remedy.parameters()), "its state is no parameter: the optimiser leaves it alone"
    training.training_step(Batch.of([[1, 4, 5, 2]]), 0)
    if kind is ControlKL:  # what it holds is beta, of which there is one
        assert not remedy.watch()
        value, logged = remedy.beta.clone(), lambda: training.beta
    else:
        ((name, value),) = remedy.watch().items()
        logged = lambda: training.measured[name]  # noqa: E731
    assert logged() == value
    remedy.update(progress(0))
    assert logged() == value


@pytest.mark.parametrize(("remedies", "logged"), [([], 1.0), ([ControlKL(lowest=0.25)], 0.25)])
def test_the_beta_that_is_logged_is_the_controllers(remedies: list[Regularizer], logged: float):
    training = tiny.training(tiny.model(remedies=remedies))
    training._trainer = Trainer()
    training.training_step(Batch.of([[1, 4, 5, 2]]), 0)
    logger, trainer = mock.Mock(), mock.create_autospec(L.Trainer, instance=True, global_step=1)
    trainer.loggers = [logger]
    TrainingCurves(1).on_train_batch_end(trainer, training, None, Batch.of([[1, 4, 5, 2]]), 0)
    assert logger.log_metrics.call_args[0][0]["train/beta"] == logged


@pytest.mark.parametrize(
    "wrong",
    [
        "target_kl.nats=-1", "target_kl.gamma=0", "target_kl.unit=weeks", "target_kl.warmup=-1",
        "control_kl.ki=0", "control_kl.kp=-1", "control_kl.nats=-1", "control_kl.highest=-1",
        "mdr.lr=0", "mdr.nats=-1", "mdr.start=-1", "mdr.damping=-1",
    ],
)  # fmt: skip
def test_values_that_make_no_sense_are_refused(wrong: str, composed: Compose):
    name, rest = wrong.split(".")
    with pytest.raises(ConfigError, match=f"regularizer.{wrong}"):
        checked(composed(f"regularizer={name}", f"regularizer.{wrong}"))
    key, value = rest.split("=")
    kind = {"target_kl": TargetKL, "control_kl": ControlKL, "mdr": MDR}[name]
    with pytest.raises(ConfigError, match=key):
        kind(**{key: value if key == "unit" else float(value)})


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ("regularizer=[target_kl,mdr]", ["regularizer=target_kl", "regularizer=mdr", "sets the rate"]),
        ("regularizer=[free_bits,control_kl]", ["regularizer=free_bits", "regularizer=control_kl"]),
        ("regularizer=control_kl anneal=linear", ["anneal=linear", "regularizer=control_kl", "sets the beta"]),
        ("regularizer=control_kl anneal=cyclical", ["anneal=cyclical", "regularizer=control_kl"]),
        ("regularizer=control_kl anneal.beta=0.5", ["anneal.beta=0.5", "regularizer=control_kl"]),
        *((f"model={model} regularizer={name}", [f"regularizer={name}", latent])
          for name in ("target_kl", "control_kl", "mdr")
          for model, latent in (("ae", "latent=point"), ("rnnlm", "latent=none"))),
    ],
)  # fmt: skip
def test_nonsense_is_refused_by_name(typed: str, named: list[str], composed: Compose):
    with pytest.raises(ConfigError) as caught:
        checked(composed(*typed.split()))
    for words in [*named, "try"]:
        assert words in str(caught.value)


@pytest.mark.parametrize(
    "typed",
    [
        "regularizer=[target_kl,word_dropout] anneal=linear",
        "regularizer=[mdr,embedding_dropout] anneal=cyclical",
        "regularizer=[control_kl,word_dropout]",
        "regularizer=control_kl estimator=score",
    ],
)
def test_what_goes_together_is_not_refused(typed: str, composed: Compose):
    checked(composed(*typed.split()))
