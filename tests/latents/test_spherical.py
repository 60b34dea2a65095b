"""Directions: densities, rates, draws and gradients of the two distributions on the sphere."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from torch.distributions import kl_divergence
from torch.nn import functional as F

from lvexp.distributions.power_spherical import PowerSpherical
from lvexp.distributions.rate import rate
from lvexp.distributions.sphere import Axial, Uniform, log_area
from lvexp.distributions.vmf import VonMisesFisher
from lvexp.estimators.auto import Auto
from lvexp.latents.power_spherical import PowerSphericalLatent
from lvexp.latents.vmf import VMF

KINDS = [VonMisesFisher, PowerSpherical]
BOTH = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
LATENTS = pytest.mark.parametrize("latent", [VMF, PowerSphericalLatent], ids=lambda kind: kind.__name__)


def about(kind: type[Axial], dim: int, kappa: float, batch: int = 1, grad: bool = False) -> Axial:
    loc = F.normalize(torch.randn(batch, dim, dtype=torch.float64), dim=-1).requires_grad_(grad)
    return kind(loc, torch.full((batch,), kappa, dtype=torch.float64, requires_grad=grad))


def level(kind: type[Axial], kappa: float, t: np.ndarray) -> np.ndarray:
    """log p(z) up to a constant."""
    return kappa * t if kind is VonMisesFisher else kappa * np.log1p(t)


def marginal(kind: type[Axial], dim: int, kappa: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Nodes of t = cos θ with their probabilities, by the midpoint rule in θ, and the log of the integral of
    e^level (1 - t²)^((D-3)/2)."""
    angle = (np.arange(400_000) + 0.5) * np.pi / 400_000
    log_height = level(kind, kappa, np.cos(angle)) + (dim - 2) * np.log(np.sin(angle))
    log_total = float(scipy.special.logsumexp(log_height))
    return np.cos(angle), np.exp(log_height - log_total), log_total + math.log(angle[1] - angle[0])


@pytest.mark.parametrize(
    ("kind", "dim", "kappa", "nats"),
    [
        (VonMisesFisher, 32, 13.0, 2.1726),
        (VonMisesFisher, 32, 50.0, 12.2534),
        (VonMisesFisher, 32, 100.0, 20.7585),
        (VonMisesFisher, 50, 35.0, 7.7430),
        (PowerSpherical, 32, 13.0, 1.465754),
        (PowerSpherical, 32, 50.0, 7.605008),
        (PowerSpherical, 32, 100.0, 13.781693),
        (PowerSpherical, 50, 35.0, 4.761151),
    ],
)
def test_the_rate_has_known_values(kind, dim, kappa, nats):
    found = kl_divergence(about(kind, dim, kappa), Uniform(torch.zeros(dim)))
    assert found.item() == pytest.approx(nats, abs=5e-5 if kind is VonMisesFisher else 5e-7)


@BOTH
@pytest.mark.parametrize("dim", [2, 3, 5, 32, 512])
@pytest.mark.parametrize("kappa", [0.01, 1.0, 13.0, 300.0])
def test_density_mean_and_rate_against_quadrature(kind, dim, kappa):
    q = about(kind, dim, kappa)
    nodes, share, log_total = marginal(kind, dim, kappa)
    assert q.resultant.item() == pytest.approx(share @ nodes, rel=1e-5, abs=1e-10)
    # p(z) = e^level / Z, Z = (area across) ∫ e^level (1 - t²)^((D-3)/2) dt
    log_z = log_area(dim - 1) + log_total
    z = F.normalize(torch.randn(4, 1, dim, dtype=torch.float64), dim=-1)
    expected = torch.from_numpy(level(kind, kappa, (z * q.loc).sum(-1)[:, 0].numpy())) - log_z
    torch.testing.assert_close(q.log_prob(z)[:, 0], expected, rtol=1e-8, atol=1e-8)
    nats = share @ level(kind, kappa, nodes) - log_z + log_area(dim)
    assert q.divergence().item() == pytest.approx(nats, rel=1e-8, abs=1e-7)


@pytest.mark.parametrize("kappa", [0.5, 7.0, 80.0])
def test_the_normaliser_is_the_bessel_function(kappa):
    dim = 20
    order = dim / 2 - 1
    log_bessel = math.log(scipy.special.ive(order, kappa)) + kappa
    log_c = order * math.log(kappa) - dim / 2 * math.log(2 * math.pi) - log_bessel
    q = about(VonMisesFisher, dim, kappa)
    assert q.log_prob(q.loc).item() == pytest.approx(kappa + log_c, rel=1e-10)
    assert q.resultant.item() == pytest.approx(
        scipy.special.ive(order + 1, kappa) / scipy.special.ive(order, kappa), rel=1e-10
    )


def test_a_large_order_and_a_large_concentration_stay_finite():
    assert scipy.special.ive(1023, 1.0) == 0, "where the Bessel function itself underflows"
    for dim, kappa in ((2048, 1.0), (2048, 10_000.0), (2, 10_000.0)):
        q = VonMisesFisher(F.normalize(torch.randn(3, dim), dim=-1), torch.full((3,), kappa))
        assert torch.isfinite(q.divergence()).all()
        assert (q.divergence() >= 0).all()
        assert torch.isfinite(q.log_prob(q.sample())).all()


@BOTH
@pytest.mark.parametrize(("dim", "kappa"), [(2, 3.0), (3, 0.5), (5, 40.0), (32, 13.0), (32, 100.0)])
def test_draws_fit_the_density(kind, dim, kappa):
    """Kolmogorov-Smirnov for t, and for a coordinate across μ; 20,000 draws, at the 1 in 10,000 level."""
    torch.manual_seed(1)
    q = about(kind, dim, kappa)
    z = q.sample((20_000,))[:, 0]
    torch.testing.assert_close(z.norm(dim=-1), torch.ones(20_000, dtype=torch.float64))
    t = (z * q.loc).sum(-1).numpy()
    nodes, share, _ = marginal(kind, dim, kappa)
    assert scipy.stats.kstest(t, lambda t: np.interp(t, nodes[::-1], share[::-1].cumsum())).pvalue > 1e-4
    across = F.normalize(z - torch.as_tensor(t)[:, None] * q.loc, dim=-1)
    side = F.normalize(
        torch.linalg.qr(torch.cat([q.loc.T, torch.randn(dim, 1, dtype=torch.float64)], 1))[0][:, 1], dim=0
    )
    s = (across @ side).numpy()
    if dim == 2:
        assert abs((s > 0).mean() - 0.5) < 4 * 0.5 / math.sqrt(len(s))
    else:
        uniform = scipy.stats.beta((dim - 2) / 2, (dim - 2) / 2, loc=-1, scale=2)
        assert scipy.stats.kstest(s, uniform.cdf).pvalue > 1e-4


def test_the_uniform_distribution():
    torch.manual_seed(0)
    p = Uniform(torch.zeros(6))
    assert p.expand((4,)).sample((3,)).shape == (3, 4, 6)
    z = p.sample((20_000,))
    assert p.log_prob(z)[0].item() == pytest.approx(-math.log(math.pi**3), rel=1e-6)  # the area is π³
    assert scipy.stats.kstest(z[:, 2].numpy(), scipy.stats.beta(2.5, 2.5, loc=-1, scale=2).cdf).pvalue > 1e-4


@pytest.mark.parametrize(("dim", "kappa"), [(2, 2.0), (3, 5.0), (8, 0.3), (32, 13.0), (32, 200.0)])
def test_the_gradient_of_a_draw_keeps_its_place_in_the_distribution(dim, kappa):
    """dt/dκ of von Mises-Fisher against the inverse of the distribution function at κ ± h."""
    torch.manual_seed(2)
    q = about(VonMisesFisher, dim, kappa, batch=400, grad=True)
    t = q.along(torch.Size((400,)))
    t.sum().backward()
    h = 1e-4 * kappa
    below = {}
    for k in (kappa - h, kappa, kappa + h):
        nodes, share, _ = marginal(VonMisesFisher, dim, k)
        share = share[::-1].cumsum() - share[::-1] / 2
        below[k] = nodes[::-1], share
    place = np.interp(t.detach().numpy(), *below[kappa])
    low, high = (np.interp(place, *below[k][::-1]) for k in (kappa - h, kappa + h))
    inner = (place > 1e-3) & (place < 1 - 1e-3)
    assert inner.sum() > 390
    np.testing.assert_allclose(q.concentration.grad.numpy()[inner], ((high - low) / (2 * h))[inner], rtol=2e-3)


@BOTH
def test_gradients_of_an_expectation_against_finite_differences(kind):
    """E[f(z)] for f = (a·z)² + b·z in κ and in the direction; 400,000 draws in pairs, 4.5 standard errors."""
    torch.manual_seed(3)
    dim, kappa, n = 6, 8.0, 400_000
    a, b = torch.randn(2, dim, dtype=torch.float64)
    start, turn = torch.randn(2, dim, dtype=torch.float64)

    def second(q: Axial) -> float:
        """E[t²]; E[f] follows from the first two moments of t."""
        nodes, share, _ = marginal(kind, dim, float(q.concentration))
        return share @ nodes**2

    def exact(kappa: float, angle: float) -> float:
        loc = F.normalize(start + angle * turn, dim=-1)
        q = kind(loc[None], torch.tensor([kappa], dtype=torch.float64))
        along, across = second(q), (1 - second(q)) / (dim - 1)
        quadratic = across * (a @ a) + (along - across) * (a @ loc) ** 2
        return float(quadratic + q.resultant[0] * (b @ loc))

    k = torch.tensor(kappa, dtype=torch.float64, requires_grad=True)
    angle = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    ks, angles = k.expand(n), angle.expand(n)
    each_k, each_angle = ks.detach().clone().requires_grad_(), angles.detach().clone().requires_grad_()
    q = kind(F.normalize(start + each_angle[:, None] * turn, dim=-1), each_k)
    z = q.rsample()
    ((z @ a).square() + z @ b).sum().backward()
    for grads, low, high, h in (
        (each_k.grad, exact(kappa - 1e-3, 0.0), exact(kappa + 1e-3, 0.0), 1e-3),
        (each_angle.grad, exact(kappa, -1e-4), exact(kappa, 1e-4), 1e-4),
    ):
        error = float(grads.std()) / math.sqrt(n)
        assert error < 0.01
        assert abs(float(grads.mean()) - (high - low) / (2 * h)) < 4.5 * error


@BOTH
def test_the_gradient_of_the_rate(kind):
    q = about(kind, 12, 9.0, grad=True)
    kl_divergence(q, Uniform(torch.zeros(12))).sum().backward()
    h = 1e-5
    low, high = (about(kind, 12, 9.0 + sign * h).divergence().item() for sign in (-1, 1))
    assert q.concentration.grad.item() == pytest.approx((high - low) / (2 * h), rel=1e-6)


@LATENTS
@pytest.mark.parametrize("learned", [False, True])
def test_the_latent_variable(latent, learned):
    torch.manual_seed(0)
    made = latent(7, dim=4, kappa=6.0, learned=learned)
    features = torch.randn(5, 7, requires_grad=True)
    params = made.params(features)
    q, p = made.posterior(params), made.prior()
    assert q.batch_shape == (5,)
    draw = Auto()(q, 3)
    total, split = rate(q, p, draw)
    assert split is None
    assert total.shape == (5,)
    assert (total == total[0]).all() == (not learned)
    if learned:
        assert q.concentration.mean().item() == pytest.approx(6.0, abs=1.5)
    (made.code(draw.value).square() @ torch.arange(4.0)).sum().backward()
    assert (features.grad != 0).any(-1).all()
    assert all((parameter.grad != 0).any() for parameter in made.parameters())
    halfway = made.between(q.loc[0], q.loc[1], 0.5)
    assert halfway.norm().item() == pytest.approx(1)
    torch.testing.assert_close(made.point(q), q.loc)
    assert not made.units


@LATENTS
def test_the_estimated_rate_agrees_with_the_closed_form(latent):
    torch.manual_seed(0)
    made = latent(7, dim=9, kappa=20.0, learned=True)
    q, p = made.posterior(made.params(torch.randn(3, 7))), made.prior()
    z = q.sample((50_000,))
    each = q.log_prob(z) - p.log_prob(z)
    assert ((each.mean(0) - kl_divergence(q, p)).abs() < 4.5 * each.std(0) / 50_000**0.5).all()
