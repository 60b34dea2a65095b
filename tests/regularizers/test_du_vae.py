"""DU-VAE: the bound that normalised means promise, dropout and floor of variances, and when they begin."""

from __future__ import annotations

import math

import pytest
import tiny
import torch
from helpers import Compose, checked

from lvexp.errors import ConfigError, Refusal
from lvexp.regularizers.du_vae import DUVAE

DIM = 3
FLOOR = 1 / (2 * math.pi * math.e)


def attached(**how: float) -> DUVAE:
    torch.manual_seed(0)
    remedy = tiny.model(dim=DIM, remedies=[DUVAE(**how)]).regularizers[0]
    assert isinstance(remedy, DUVAE)
    return remedy.train()


def test_scales_are_learned_and_their_root_mean_square_is_not():
    remedy = attached(gamma=0.7)
    with torch.no_grad():
        remedy.scales.copy_(torch.tensor([0.5, 1.0, 4.0]))
    mean, _ = remedy.constrain(torch.randn(200, 2 * DIM) * 5 + 3).chunk(2, -1)
    spread = mean.std(0, correction=0)
    torch.testing.assert_close(spread / spread[0], torch.tensor([1.0, 2.0, 8.0]))
    assert spread.square().mean().sqrt().item() == pytest.approx(0.7, rel=1e-4)
    mean[:, 2].square().sum().backward()
    assert remedy.scales.grad.abs().sum() > 0


def test_variances_are_left_alone_until_the_weight_is_one():
    remedy, given = attached(), torch.randn(40, 2 * DIM)
    assert remedy.weigh(0.99) == 0.99
    assert torch.equal(remedy.constrain(given)[:, DIM:], given[:, DIM:])
    remedy.weigh(1.0)
    assert not torch.equal(remedy.constrain(given)[:, DIM:], given[:, DIM:])
    remedy.weigh(0.5)
    assert bool(remedy.full), "a cycle of the schedule does not undo it"
    other = attached()
    other.load_state_dict(remedy.state_dict())
    assert bool(other.full)


def test_dropped_variances_are_at_the_floor_and_the_others_keep_the_mean():
    remedy = attached(drop=0.25)
    remedy.weigh(1.0)
    given = torch.cat([torch.randn(20_000, DIM), torch.full((20_000, DIM), -1.0)], -1)
    variance = remedy.constrain(given)[:, DIM:].exp()
    dropped = variance < FLOOR * 1.001
    assert dropped.float().mean().item() == pytest.approx(0.25, abs=0.01)
    torch.testing.assert_close(variance[dropped], torch.tensor(FLOOR).expand(int(dropped.sum())))
    torch.testing.assert_close(
        variance[~dropped], torch.tensor(math.exp(-1) / 0.75 + FLOOR).expand(int((~dropped).sum()))
    )
    remedy.eval()
    torch.testing.assert_close(
        remedy.constrain(given)[:, DIM:].exp(), torch.tensor(math.exp(-1) + FLOOR).expand(20_000, DIM)
    )


def test_with_the_usual_floor_no_dimension_has_a_negative_entropy():
    remedy = attached()
    remedy.weigh(1.0)
    log_variance = remedy.constrain(torch.full((30, 2 * DIM), -30.0) + torch.randn(30, 2 * DIM))[:, DIM:]
    assert (0.5 * (log_variance + math.log(2 * math.pi * math.e)) >= -1e-5).all()


@pytest.mark.parametrize("gamma", [0.5, 1.2])
def test_the_mean_rate_of_a_batch_is_at_least_half_gamma_squared_in_each_dimension(gamma):
    torch.manual_seed(0)
    model = tiny.model(dim=DIM, remedies=[DUVAE(gamma)])
    remedy, batch = model.regularizers[0].train(), next(iter(tiny.corpus()))
    remedy.weigh(1.0)
    constrained = remedy.constrain(torch.randn(len(batch), 2 * DIM))
    assert model.terms(batch, params=constrained).rate.mean() >= DIM * gamma**2 / 2 * (1 - 1e-3)


def test_bad_values_and_company(composed: Compose):
    with pytest.raises(ConfigError, match="drop=1"):
        DUVAE(drop=1)
    with pytest.raises(Refusal, match="regularizer=du_vae"):
        checked(composed("regularizer=[du_vae,batch_norm]"))
    with pytest.raises(Refusal, match="is not Gaussian"):
        checked(composed("regularizer=du_vae", "latent=iaf"))
    checked(composed("arm=du_vae"))
