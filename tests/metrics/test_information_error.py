"""The error of the mutual information, and the two ways to take the densities that it is made of."""

from __future__ import annotations

import math

import pytest
import tiny
import torch

from lvexp.latents.gaussian import Gaussian
from lvexp.metrics.mutual_information import MutualInformation, _any, _gaussian, mutual_information

TEXTS, REPETITIONS, DRAWS = 40, 150, 4


@pytest.fixture(scope="module")
def measured():
    """Measures forty texts whose posteriors overlap, so that the terms of the estimate are noisy."""
    torch.manual_seed(0)
    model = tiny.model(dim=4)
    with torch.no_grad():
        terms = model.terms(tiny.encode(*["a"] * TEXTS), params=torch.randn(TEXTS, 8))

    def measure(draws, seed=0):
        torch.manual_seed(seed)
        metric = MutualInformation(model.latent.posterior, draws=draws, size=TEXTS)
        metric.update(terms)
        return metric.compute()

    return measure


@pytest.fixture(scope="module")
def often(measured):
    return {draws: [measured(draws, seed) for seed in range(REPETITIONS)] for draws in (DRAWS * TEXTS, None)}


def test_the_error_is_the_spread_over_repetitions(often):
    found = often[DRAWS * TEXTS]
    spread = float(torch.tensor([one["mi"] for one in found]).double().std())
    told = math.sqrt(sum(one["mi_se"] ** 2 for one in found) / REPETITIONS)
    assert told == pytest.approx(spread, rel=0.18), "a standard deviation of 150 is known to 6 %"


def test_four_draws_are_four_times_as_good_as_one(often):
    many, one = (torch.tensor([each["mi"] for each in found]).double() for found in often.values())
    assert 2.4 < float(one.var() / many.var()) < 6.5
    assert float(many.mean()) == pytest.approx(float(one.mean()), abs=4 * float(one.std()) / REPETITIONS**0.5)


def test_one_draw_has_no_error_and_few_draws_are_two_for_each(measured):
    assert measured(None)["mi_se"] is None
    assert measured(1)["mi_se"] > 0


def test_a_sum_over_all_z_has_none_to_speak_of():
    model = tiny.model("categorical")
    metric = MutualInformation(model.latent.posterior, draws=1000)
    for batch in tiny.corpus():
        with torch.no_grad():
            metric.update(model.terms(batch))
    assert metric.compute()["mi_se"] == 0.0


@pytest.mark.parametrize("log_deviation", [0.0, -4.0])
def test_the_product_of_matrices_is_the_density(log_deviation):
    """Against torch's own in 64 bits, for posteriors as narrow as e^-4 beside means that are 5 apart too."""
    torch.manual_seed(1)
    params = torch.cat([5 * torch.randn(30, 6), 2 * log_deviation + torch.randn(30, 6)], 1)
    q, exact = Gaussian(1, 6).posterior(params), Gaussian(1, 6).posterior(params.double())
    value = q.sample()
    torch.testing.assert_close(_gaussian(exact)(value), _any(exact)(value.double()), rtol=1e-10, atol=1e-7)
    by_hand = _any(q)(value)
    information = (by_hand.diagonal() - by_hand.logsumexp(1) + math.log(30)).mean()
    assert mutual_information(Gaussian(1, 6).posterior, params, value) == pytest.approx(float(information), abs=1e-4)
