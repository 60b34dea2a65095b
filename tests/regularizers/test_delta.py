"""The committed rate: its bounds, and that nothing an encoder says gets below it."""

from __future__ import annotations

import math

import pytest
import tiny
import torch
from helpers import Compose, checked

from lvexp.errors import ConfigError, Refusal
from lvexp.regularizers.delta import Delta, sigma_range


def rates(params: torch.Tensor) -> torch.Tensor:
    """The rate of each dimension as the model computes it."""
    mean, log_variance = params.chunk(2, -1)
    q = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    return torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0))


def attached(nats: float, dim: int = 3) -> Delta:
    return tiny.model(dim=dim, remedies=[Delta(nats)]).regularizers[0]


@pytest.mark.parametrize("delta", [1e-4, 0.1, 0.5, 3.0, 40.0, 1000.0])
def test_at_both_ends_of_its_range_a_centred_posterior_has_exactly_the_committed_rate(delta: float):
    low, high = sigma_range(delta)
    assert 0 <= low < 1 < high
    for sigma in (low, high):
        if sigma > 0:  # e^-(1 + 2 delta) is 0 in 64 bits for a rate of a thousand nats
            assert 0.5 * (sigma**2 - 1 - 2 * math.log(sigma)) == pytest.approx(delta, rel=1e-9)


def test_known_range():
    # sigma^2 - log sigma^2 = 2 has no solution but these: -W0(-e^-2) and -W-1(-e^-2)
    low, high = sigma_range(0.5)
    assert low**2 == pytest.approx(0.158594339563, abs=1e-11)
    assert high**2 == pytest.approx(3.146193220620, abs=1e-11)


@pytest.mark.parametrize("nats", [3e-4, 0.3, 3.2, 30.0, 120.0])
def test_no_encoder_gets_below_the_committed_rate(nats: float):
    torch.manual_seed(0)
    remedy = attached(nats)
    given = torch.cat([scale * torch.randn(2000, 6) for scale in (0.1, 1, 10, 100, 1e4)])
    ends = torch.cartesian_prod(*[torch.tensor([-1e6, -30.0, 0.0, 30.0, 1e6])] * 2)
    given = torch.cat([given, ends.repeat_interleave(3, 1)])
    found = rates(remedy.constrain(given))
    assert found.dtype == torch.float32
    assert (found >= nats / 3).all()
    assert found.min().item() == pytest.approx(nats / 3, rel=1e-3, abs=2e-5), "the bound is reached"


def test_gradients_flow_into_means_and_variances_wherever_the_encoder_is():
    remedy = attached(0.9)
    given = torch.tensor([[-3.0, 0.0, 3.0, -2.0, 0.0, 2.0], [-1e3, 0.0, 1e3, -1e3, 0.0, 1e3]], requires_grad=True)
    remedy.constrain(given).square().sum().backward()
    assert given.grad.isfinite().all()
    assert (given.grad[0] != 0).all()


def test_gradients_are_those_of_the_formula():
    remedy = attached(0.9)
    given = torch.randn(4, 6, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(remedy.constrain, given)


def test_it_is_part_of_the_posterior_in_evaluation_too():
    model = tiny.model(remedies=[Delta(nats=6.0)]).eval()
    terms = tiny.training(model).validation_step(tiny.encode("a b", "c", "d e f"), 0)
    assert (terms.rate_per_dimension >= 2).all()
    assert torch.equal(terms.rate, terms.rate_per_dimension.sum(-1))


def test_a_rate_that_commits_to_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"delta\.nats=0"):
        Delta(nats=0)


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ("model=ae regularizer=delta", ["latent=point", "Gaussian"]),
        ("model=rnnlm regularizer=delta", ["latent=none", "Gaussian"]),
        ("regularizer=[delta,batch_norm]", ["regularizer=delta", "regularizer=batch_norm", "sets the posterior"]),
        ("regularizer=delta regularizer.delta.nats=0", ["above 0"]),
    ],
)
def test_what_it_cannot_work_with_is_refused(typed: str, named: list[str], composed: Compose):
    with pytest.raises((Refusal, ConfigError)) as caught:
        checked(composed(*typed.split()))
    for words in named:
        assert words in str(caught.value)
