"""DG-VAE: the gap of the batch's aggregate posterior, and what it replaces."""

from __future__ import annotations

import math

import pytest
import scipy.integrate
import scipy.stats
import tiny
import torch
from helpers import Compose, checked

from lvexp.errors import ConfigError, Refusal
from lvexp.regularizers.dg_vae import DGVAE, gap

DIM = 3


def terms(params: torch.Tensor):
    model = tiny.model(dim=DIM)
    batch = next(iter(tiny.corpus()))
    return model.terms(batch[torch.arange(len(params))], params=params)


def test_the_gap_against_quadrature():
    torch.manual_seed(0)
    params = torch.randn(4, 2 * DIM)
    mean, deviation = params[:, :DIM].numpy(), (params[:, DIM:] / 2).exp().numpy()

    def density(z: float, d: int) -> float:
        return scipy.stats.norm.pdf(z, mean[:, d], deviation[:, d]).mean()

    exact = sum(
        scipy.integrate.quad(
            lambda z, d=d: density(z, d) * (math.log(density(z, d) + 1e-300) - scipy.stats.norm.logpdf(z)), -12, 12
        )[0]
        for d in range(DIM)
    )
    found = gap(terms(params), 20_000).item()
    assert found == pytest.approx(exact, abs=0.03)
    assert exact > 0.1


def test_for_one_text_it_is_the_rate():
    torch.manual_seed(0)
    one = terms(torch.randn(1, 2 * DIM))
    assert gap(one, 200_000).item() == pytest.approx(one.rate.item(), abs=0.03)


def test_posteriors_that_together_are_the_prior_cost_nothing():
    """Far apart, each with a large rate; the quantiles of N(0, 1)."""
    torch.manual_seed(0)
    texts = len(next(iter(tiny.corpus())))
    places = torch.tensor([scipy.stats.norm.ppf((at + 0.5) / texts) for at in range(texts)], dtype=torch.float32)
    width = torch.full((texts, DIM), 2 * math.log(0.45))
    spread = terms(torch.cat([places[:, None].expand(-1, DIM), width], -1))
    assert spread.rate.mean() > 1.2
    assert gap(spread, 2_000).item() < 0.25


def test_it_replaces_the_rate_and_is_weighed_by_beta():
    torch.manual_seed(0)
    remedy, part = DGVAE(draws=4_000), terms(torch.randn(4, 2 * DIM))
    assert torch.equal(remedy.rate(part.rate, part.rate_per_dimension), torch.zeros(4))
    remedy.weigh(0.25)
    penalty = remedy.penalty(part)
    assert penalty.shape == (4,)
    assert penalty[0].item() == pytest.approx(0.25 * gap(part, 4_000).item(), abs=0.02)


def test_its_gradient_reaches_the_posterior():
    torch.manual_seed(0)
    params = torch.randn(4, 2 * DIM, requires_grad=True)
    gap(terms(params), 32).backward()
    assert (params.grad != 0).all()


def test_bad_values_and_company(composed: Compose):
    with pytest.raises(ConfigError, match="draws=0"):
        DGVAE(draws=0)
    with pytest.raises(Refusal, match="sets the rate"):
        checked(composed("regularizer=[dg_vae,free_bits]"))
    with pytest.raises(Refusal, match="another prior"):
        checked(composed("regularizer=dg_vae", "prior=mixture"))
    checked(composed("regularizer=dg_vae", "anneal=linear"))
