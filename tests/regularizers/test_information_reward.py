"""The reward for mutual information: its identity, its ceiling, its gradient."""

from __future__ import annotations

import dataclasses
import math

import pytest
import tiny
import torch
from helpers import Compose, checked

from lvexp.errors import ConfigError, Refusal
from lvexp.estimators.score import Score
from lvexp.metrics.mutual_information import mutual_information
from lvexp.regularizers.mutual_information import MutualInformation

TEXTS = ("a b c", "d", "e f", "b b a d")


def information(model, terms) -> torch.Tensor:
    return -model.regularizers[0].penalty(terms).mean()


def test_rate_less_information_is_the_divergence_of_the_aggregate_posterior():
    model = tiny.model(remedies=[MutualInformation()])
    terms = model.terms(tiny.encode(*TEXTS), samples=50)
    z = terms.draw.value  # [S, B, D]
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.ones(len(TEXTS))), terms.q, validate_args=False
    )
    divergence = (mixture.log_prob(z) - terms.p.log_prob(z)).mean()
    rate = (terms.q.log_prob(z) - terms.p.log_prob(z)).mean()
    assert (rate - information(model, terms)).item() == pytest.approx(divergence.item(), rel=1e-4)


def test_it_is_the_figure_that_is_reported():
    model = tiny.model(remedies=[MutualInformation(weight=1.0)])
    terms = model.terms(tiny.encode(*TEXTS))
    with torch.no_grad():
        reported = mutual_information(model.latent.posterior, terms.params, terms.draw.value[0])
    assert information(model, terms).item() == pytest.approx(reported, abs=1e-4)


def test_it_cannot_exceed_the_log_of_the_batch_and_is_0_for_a_useless_code():
    model = tiny.model(remedies=[MutualInformation()])
    batch = tiny.encode(*TEXTS)
    apart = torch.cat([torch.arange(4.0)[:, None].expand(4, 3) * 100, torch.full((4, 3), -4.0)], -1)
    ceiling = information(model, model.terms(batch, samples=20, params=apart))
    assert ceiling.item() == pytest.approx(math.log(4), abs=1e-4)
    same = information(model, model.terms(batch, samples=20, params=torch.zeros(4, 6)))
    assert same.item() == pytest.approx(0, abs=1e-5)
    assert information(model, model.terms(tiny.encode("a b"))).item() == pytest.approx(0, abs=1e-5)


def test_the_gradient_of_both_estimators_is_that_of_the_exact_figure():
    """Two texts in one dimension, I by quadrature."""
    model = tiny.model(dim=1, remedies=[MutualInformation()])
    terms = model.terms(tiny.encode("a", "b"))
    params = torch.tensor([[0.0, 0.0], [1.5, -1.0]], requires_grad=True)
    grid = torch.linspace(-12, 12, 4001)[:, None, None].expand(-1, 2, 1)
    q = model.latent.posterior(params)
    log_q = q.log_prob(grid)
    exact = (log_q.exp() * (log_q - log_q.logsumexp(1, keepdim=True) + math.log(2))).sum(0).mean() * (24 / 4000)
    (expected,) = torch.autograd.grad(exact, params, retain_graph=True)
    torch.manual_seed(0)
    for estimator, tolerance in ((model.estimator, 0.01), (Score(), 0.02)):
        found = information(model, dataclasses.replace(terms, q=q, draw=estimator(q, 60_000)))
        assert found.item() == pytest.approx(exact.item(), abs=0.01)
        (gradient,) = torch.autograd.grad(found, params, retain_graph=True)
        assert torch.allclose(gradient, expected, atol=tolerance)


def test_what_is_reported_does_not_depend_on_it():
    batch, found = tiny.encode(*TEXTS), []
    for remedies in ([], [MutualInformation(weight=100.0)]):
        model = tiny.model(remedies=remedies).eval()
        torch.manual_seed(1)
        terms = tiny.training(model).validation_step(batch, 0)
        found.append(terms.distortion + terms.rate)
    assert torch.equal(*found)


def test_what_it_cannot_work_with_is_refused(composed: Compose):
    for model, latent in (("ae", "point"), ("rnnlm", "none")):
        with pytest.raises(Refusal, match=rf"(?s)latent={latent}.*density.*mutual_information"):
            checked(composed(f"model={model}", "regularizer=mutual_information"))
    with pytest.raises(ConfigError, match="weight=-1"):
        MutualInformation(weight=-1)
