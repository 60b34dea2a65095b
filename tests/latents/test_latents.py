"""Every latent variable: shapes, gradients, reloading; and the Gaussian's rate."""

from __future__ import annotations

import math

import pytest
import scipy.integrate
import scipy.stats
import torch
from torch.distributions import Independent, Laplace, Normal, StudentT, kl_divergence

from lvexp.distributions.rate import rate
from lvexp.draws import Draw
from lvexp.estimators.auto import Auto
from lvexp.latents.conditional import ConditionalGaussian
from lvexp.latents.gaussian import Gaussian
from lvexp.latents.none import NoLatent
from lvexp.latents.point import Point

H, D = 7, 3
LATENTS = {"gaussian": lambda: Gaussian(H, D), "point": lambda: Point(H, D), "none": lambda: NoLatent(H)}


@pytest.fixture(params=LATENTS)
def latent(request):
    torch.manual_seed(0)
    return LATENTS[request.param]()


def test_shapes(latent):
    params = latent.params(torch.randn(5, H))
    q = latent.posterior(params)
    assert q.batch_shape == (5,)
    draw = Auto()(q, 4)
    code = latent.code(draw.value)
    assert code.shape == (4, 5, latent.width)
    assert draw.log_weight.shape == (4, 5)
    assert latent.code(q.mean[None]).shape == (1, 5, latent.width)
    if latent.dim is not None:
        assert q.mean.shape == (5, latent.dim)
    prior = latent.prior()
    if prior is not None:
        assert latent.code(prior.sample((2, 6))).shape == (2, 6, latent.width)
        total, split = rate(q, prior, draw)
        assert total.shape == (5,)
        assert split.shape == (5, latent.dim)


def test_gradient_reaches_features_and_weights(latent):
    features = torch.randn(5, H, requires_grad=True)
    code = latent.code(Auto()(latent.posterior(latent.params(features)), 2).value)
    if latent.width == 0:
        assert code.numel() == 0
        assert not list(latent.parameters())
        return
    code.square().sum().backward()
    assert (features.grad != 0).all()
    for parameter in latent.parameters():
        assert (parameter.grad != 0).all()


def test_reloads(latent, tmp_path):
    torch.save(latent.state_dict(), tmp_path / "latent.pt")
    other = type(latent)(H, D) if latent.dim else type(latent)(H)
    other.load_state_dict(torch.load(tmp_path / "latent.pt", weights_only=True))
    features = torch.randn(5, H)
    assert torch.equal(other.params(features), latent.params(features))


def test_without_a_prior():
    assert Point(H).prior() is None
    assert NoLatent(H).prior() is None
    assert NoLatent(H).dim is None


@pytest.fixture
def params():
    torch.manual_seed(1)
    return torch.randn(6, 2 * D, dtype=torch.float64)


@pytest.fixture
def gaussian():
    return Gaussian(H, D).double()


def test_gaussian_rate_is_the_formula_of_the_paper(gaussian, params):
    """Kingma & Welling 2014, appendix B: -1/2 sum(1 + log s^2 - m^2 - s^2)."""
    mean, log_variance = params.chunk(2, -1)
    by_hand = -0.5 * (1 + log_variance - mean**2 - log_variance.exp())
    q, p = gaussian.posterior(params), gaussian.prior()
    total, split = rate(q, p, Draw.equal(q.sample((1,))))
    torch.testing.assert_close(split, by_hand)
    torch.testing.assert_close(total, by_hand.sum(-1))
    torch.testing.assert_close(total, kl_divergence(q, p.expand((6,))))


def test_gaussian_rate_against_quadrature(gaussian, params):
    q = gaussian.posterior(params)
    _, split = rate(q, gaussian.prior(), Draw.equal(q.sample((1,))))
    mean, deviation = params[0, 0].item(), math.exp(params[0, D].item() / 2)
    posterior, prior = scipy.stats.norm(mean, deviation), scipy.stats.norm()
    found, _ = scipy.integrate.quad(lambda z: posterior.pdf(z) * (posterior.logpdf(z) - prior.logpdf(z)), -20, 20)
    assert split[0, 0].item() == pytest.approx(found, rel=1e-6)


def test_rate_from_draws_agrees_with_the_closed_form(gaussian, params):
    """q and p as one distribution that torch knows no KL of; 100,000 draws, 4.5 standard errors."""
    torch.manual_seed(0)
    q, p = gaussian.posterior(params), gaussian.prior()
    draw = Auto()(q, 100_000)
    closed, _ = rate(q, p, draw)

    class Plain(torch.distributions.Distribution):
        def __init__(self, inner):
            self.inner = inner
            super().__init__(inner.batch_shape, inner.event_shape, validate_args=False)

        def log_prob(self, value):
            return self.inner.log_prob(value)

    sampled, split = rate(q, Plain(p), draw)
    assert split is None
    error = (q.log_prob(draw.value) - p.log_prob(draw.value)).std(0) / 100_000**0.5
    assert (error < 0.02).all()
    assert ((sampled - closed).abs() < 4.5 * error).all()


def test_rate_of_independent_pairs_without_a_closed_form():
    """Each has independent dimensions, yet torch knows no KL of the two."""
    torch.manual_seed(0)
    q = Independent(Normal(torch.zeros(2, 3), torch.ones(2, 3)), 1)
    p = Independent(StudentT(torch.full((3,), 4.0)), 1)
    total, split = rate(q, p, Auto()(q, 20_000))
    inner = lambda z: scipy.stats.norm.pdf(z) * (scipy.stats.norm.logpdf(z) - scipy.stats.t.logpdf(z, 4))  # noqa: E731
    one, _ = scipy.integrate.quad(inner, -15, 15)
    assert split is None
    assert total.tolist() == pytest.approx([3 * one] * 2, abs=0.02)


def test_rate_of_other_known_pairs():
    q = Independent(Laplace(torch.randn(4, 3), torch.ones(4, 3)), 1)
    p = Independent(Normal(torch.zeros(3), torch.ones(3)), 1)
    total, split = rate(q, p, Auto()(q, 1))
    torch.testing.assert_close(split, kl_divergence(q.base_dist, p.base_dist))
    torch.testing.assert_close(total, split.sum(-1))


def test_a_conditional_prior_is_the_gaussian_that_its_condition_says():
    torch.manual_seed(0)
    latent = ConditionalGaussian(H, D, log_variance=-1.0)
    features, condition = torch.randn(2, 5, H)
    q, p = latent.posterior(latent.params(features)), latent.prior(condition)
    mean, log_variance = latent.conditional(condition).chunk(2, -1)
    torch.testing.assert_close(p.mean, mean)
    torch.testing.assert_close(p.variance, log_variance.exp())
    total, split = rate(q, p, Draw.equal(q.sample(torch.Size((1,)))))
    variance = q.variance
    expected = 0.5 * ((variance + (q.mean - mean) ** 2) / log_variance.exp() - 1 - variance.log() + log_variance)
    torch.testing.assert_close(split, expected)
    torch.testing.assert_close(total, expected.sum(-1))
    total.sum().backward()
    assert latent.conditional.weight.grad.abs().sum() > 0
    with pytest.raises(ValueError, match="no p\\(z\\) without a condition"):
        latent.prior()
