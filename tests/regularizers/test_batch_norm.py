"""Normalised posterior means: the bound they promise in training, and what evaluation does."""

from __future__ import annotations

import pytest
import tiny
import torch
from helpers import Compose, checked

from lvexp.errors import ConfigError, Refusal
from lvexp.regularizers.batch_norm import BatchNorm

DIM = 3


def attached(gamma: float = 0.7) -> BatchNorm:
    remedy = tiny.model(dim=DIM, remedies=[BatchNorm(gamma)]).regularizers[0]
    assert isinstance(remedy, BatchNorm)
    return remedy


def test_means_get_the_fixed_deviation_and_the_learned_shift():
    torch.manual_seed(0)
    remedy = attached(0.7)
    with torch.no_grad():
        remedy.shift.copy_(torch.tensor([0.0, 1.0, -2.0]))
    given = torch.randn(50, 2 * DIM) * 5 + 3
    mean, log_variance = remedy.constrain(given).chunk(2, -1)
    raw = given[:, :DIM]
    by_hand = 0.7 * (raw - raw.mean(0)) / raw.std(0, correction=0) + remedy.shift
    assert torch.allclose(mean, by_hand, atol=1e-5)
    assert torch.equal(log_variance, given[:, DIM:])


@pytest.mark.parametrize("gamma", [0.5, 1.2])
@pytest.mark.parametrize("spread", [0.01, 1.0, 100.0])
def test_in_training_the_mean_rate_of_a_batch_is_at_least_half_gamma_squared_in_each_dimension(gamma, spread):
    torch.manual_seed(0)
    model = tiny.model(dim=DIM, remedies=[BatchNorm(gamma)])
    batch = next(iter(tiny.corpus()))
    bound = DIM * gamma**2 / 2
    given = torch.cat([spread * torch.randn(len(batch), DIM), torch.randn(len(batch), DIM)], -1)
    constrained = model.regularizers[0].constrain(given)
    assert model.terms(batch, params=constrained).rate.mean() >= bound * (1 - 1e-3)
    centred = torch.cat([constrained[:, :DIM], torch.zeros(len(batch), DIM)], -1)
    assert model.terms(batch, params=centred).rate.mean().item() == pytest.approx(bound, rel=1e-3)


def test_evaluation_uses_the_running_statistics_and_each_text_stands_alone():
    torch.manual_seed(0)
    remedy = attached()
    for _ in range(200):
        remedy.constrain(2 * torch.randn(64, 2 * DIM) + 5)
    remedy.eval()
    given = 2 * torch.randn(8, 2 * DIM) + 5
    together = remedy.constrain(given)
    assert torch.allclose(together, torch.cat([remedy.constrain(row[None]) for row in given]), atol=1e-5)
    assert torch.allclose(together[:, :DIM], 0.7 * (given[:, :DIM] - 5) / 2, atol=0.15)


def test_a_training_batch_of_one_text_is_normalised_by_the_running_statistics():
    torch.manual_seed(0)
    remedy = attached()
    remedy.constrain(torch.randn(64, 2 * DIM) + 5)
    kept = remedy.norm.running_mean.clone()
    alone = torch.randn(1, 2 * DIM)
    in_training = remedy.constrain(alone)
    assert torch.equal(remedy.norm.running_mean, kept), "one text says nothing of the spread"
    assert torch.equal(in_training, remedy.eval().constrain(alone))


def test_a_step_of_a_single_text_is_finite():
    model = tiny.model(remedies=[BatchNorm()])
    loss = tiny.training(model).training_step(tiny.encode("a b c"), 0)
    loss.backward()
    assert loss.isfinite()


def test_the_shift_is_learned_and_the_scale_is_not():
    remedy = attached()
    assert [name for name, _ in remedy.named_parameters()] == ["shift"]
    assert set(remedy.state_dict()) >= {"shift", "norm.running_mean", "norm.running_var"}


def test_what_it_cannot_work_with_is_refused(composed: Compose):
    with pytest.raises(ConfigError, match=r"gamma=0"):
        BatchNorm(gamma=0)
    with pytest.raises(ConfigError, match="above 0"):
        checked(composed("regularizer=batch_norm", "regularizer.batch_norm.gamma=-1"))
    with pytest.raises(Refusal, match=r"(?s)latent=point.*Gaussian"):
        checked(composed("model=ae", "regularizer=batch_norm"))
