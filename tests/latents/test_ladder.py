"""Two layers of Gaussians: against closed forms, against draws, and as a latent variable."""

from __future__ import annotations

import math

import pytest
import scipy.stats
import torch
from helpers import Compose, checked, plain
from torch import nn

from lvexp import build
from lvexp.data.features import Features
from lvexp.data.points import as_batch
from lvexp.distributions.chain import Chain
from lvexp.distributions.rate import in_closed_form, rate
from lvexp.draws import Draw
from lvexp.errors import ConfigError
from lvexp.estimators.auto import Auto
from lvexp.estimators.score import Score
from lvexp.latents.ladder import Ladder
from lvexp.metrics.likelihood import importance_weighted
from lvexp.metrics.mutual_information import mutual_information
from lvexp.models.toy import ToyModel

H, D, TOP = 7, 3, 2


def latent() -> Ladder:
    torch.manual_seed(0)
    return Ladder(H, D, top=TOP, hidden=5).double()


def gaussians(made: Ladder, params: torch.Tensor, z2: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Means and variances of p(z1|z2) and q(z1|x, z2), by the formulas."""
    layers = [layer for layer in made.down if isinstance(layer, nn.Linear)]
    m, log_v = layers[1](torch.tanh(layers[0](z2))).chunk(2, -1)
    seen, seen_v = params[..., 2 * TOP : 2 * TOP + D], params[..., 2 * TOP + D :].exp()
    precision = 1 / seen_v + 1 / log_v.exp()
    return m, log_v.exp(), (seen / seen_v + m / log_v.exp()) / precision, 1 / precision


def normal(x: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
    return -0.5 * ((x - mean) ** 2 / variance + variance.log() + math.log(2 * math.pi)).sum(-1)


def test_densities_are_those_of_the_formulas():
    made = latent()
    params = made.params(torch.randn(6, H).double())
    q, p = made.posterior(params), made.prior()
    z = q.sample((4,))
    z2, z1 = z[..., :TOP], z[..., TOP:]
    m, v, merged, merged_v = gaussians(made, params, z2)
    zeros, ones = torch.zeros(TOP).double(), torch.ones(TOP).double()
    torch.testing.assert_close(p.log_prob(z), normal(z2, zeros, ones) + normal(z1, m, v))
    own = normal(z2, params[:, :TOP], params[:, TOP : 2 * TOP].exp())
    torch.testing.assert_close(q.log_prob(z), own + normal(z1, merged, merged_v))
    pairs = q.log_prob(z[0][:, None])
    one_by_one = [torch.cat([made.posterior(params[j : j + 1]).log_prob(each) for j in range(6)]) for each in z[0]]
    torch.testing.assert_close(pairs, torch.stack(one_by_one))
    assert p.expand(torch.Size((6,))).sample().shape == (6, TOP + D)


@torch.no_grad()
def test_the_density_integrates_to_one():
    torch.manual_seed(0)
    made = Ladder(H, 1, top=1, hidden=5).double()
    edge = torch.linspace(-9, 9, 1201).double()
    area = (18 / 1200) ** 2
    q = made.posterior(made.params(torch.randn(1, H).double()))
    grid = torch.cartesian_prod(edge, edge)
    for one in (q, made.prior()):
        assert float(one.log_prob(grid).exp().sum()) * area == pytest.approx(1, abs=1e-6)


def test_the_rate_is_exact_given_the_top_and_agrees_with_draws():
    made = latent()
    params = made.params(torch.randn(4, H).double())
    q, p, draws = made.posterior(params), made.prior(), 100_000
    draw = Draw.equal(q.sample((draws,)))
    total, split = rate(q, p, draw)
    assert split is not None
    assert split.shape == (4, TOP + D)
    torch.testing.assert_close(split.sum(-1), total)
    each = q.log_prob(draw.value) - p.log_prob(draw.value)
    error = each.std(0) / draws**0.5
    assert (error < 0.02).all()
    assert ((total - each.mean(0)).abs() < 4.5 * error).all()
    assert not in_closed_form(q, p)
    one, _ = rate(q, p, Draw.equal(draw.value[:1]))
    m, v, merged, merged_v = gaussians(made, params, draw.value[0, :, :TOP])
    below = 0.5 * ((merged_v + (merged - m) ** 2) / v - 1 + v.log() - merged_v.log()).sum(-1)
    mean, variance = params[:, :TOP], params[:, TOP : 2 * TOP].exp()
    torch.testing.assert_close(one, below + 0.5 * (variance + mean**2 - 1 - variance.log()).sum(-1))


@pytest.mark.parametrize("estimator", [Auto, Score])
def test_the_gradient_of_the_rate_is_that_of_its_quadrature(estimator: type):
    """One dimension each, z2 on a grid; the score function and the path agree with it."""
    torch.manual_seed(0)
    made = Ladder(H, 1, top=1, hidden=5).double()
    params = torch.tensor([[0.7, -0.3, 1.1, 0.4]], dtype=torch.float64, requires_grad=True)
    edge = torch.linspace(-9, 9, 2001).double()[:, None, None]
    q, p = made.posterior(params), made.prior()
    weight = q.first.log_prob(edge).exp() * (18 / 2000)
    one, other = q.second(edge).base_dist, p.second(edge).base_dist
    above = torch.distributions.kl_divergence(q.first.base_dist, p.first.base_dist).sum()
    exact = above + (weight * torch.distributions.kl_divergence(one, other).sum(-1)).sum()
    (wanted,) = torch.autograd.grad(exact, params)
    draw = estimator().train()(made.posterior(params), 400_000)
    total, _ = rate(made.posterior(params), p, draw)
    (found,) = torch.autograd.grad(total.sum(), params)
    torch.testing.assert_close(total.sum(), exact, rtol=0.01, atol=0.0)
    torch.testing.assert_close(found, wanted, rtol=0.05, atol=0.01)


SIGMA, ABOVE, BELOW = 0.4, (0.9, -1.3), (0.6, 0.8)  # σ of x, weights of z2 in z1, standard deviations of z1 given z2


def linear(composed: Compose, exact: bool = True) -> ToyModel:
    """x = z1 + σ ε and z1 = a z2 + s ε, by dimension: p(x) is normal, and q can be p(z|x)."""
    typed = ("model=toy", "latent=ladder", f"decoder.sigma={SIGMA}", "encoder=linear", "encoder.hidden=2")
    config = plain(composed(*typed, "latent.dim=2", "latent.top=2"))
    model = build.model(config, Features(1, 2)).eval()
    assert isinstance(model, ToyModel)
    made = model.latent
    assert isinstance(made, Ladder)
    a, s2, noise = torch.tensor(ABOVE), torch.tensor(BELOW) ** 2, torch.tensor(SIGMA**2)
    model.decoder.mean, down = nn.Identity(), nn.Linear(2, 4)
    made.down = nn.Sequential(down)
    gain = a / (a**2 + s2 + noise)  # of z2 from x
    with torch.no_grad():
        down.weight.copy_(torch.cat([a.diag(), torch.zeros(2, 2)]))
        down.bias.copy_(torch.cat([torch.zeros(2), s2.log()]))
        model.encoder.embedding.weight.copy_(torch.eye(2))
        made.linear.weight.copy_(torch.cat([gain.diag(), torch.zeros(2, 2), torch.eye(2), torch.zeros(2, 2)]))
        log_variance = torch.log(1 - gain * a)
        made.linear.bias.copy_(torch.cat([torch.zeros(2), log_variance, torch.zeros(2), noise.log().expand(2)]))
        if not exact:
            made.linear.bias += 0.3
    return model


POINTS = torch.tensor([[0.5, -1.0], [0.0, 0.0], [1.7, -2.2]])


def log_p() -> torch.Tensor:
    variance = torch.tensor([a**2 + s**2 + SIGMA**2 for a, s in zip(ABOVE, BELOW, strict=True)])
    return torch.tensor(scipy.stats.norm(0, variance.sqrt()).logpdf(POINTS.numpy()).sum(-1)).float()


def test_with_the_true_posterior_every_weight_is_p_of_x_and_the_bound_is_tight(composed: Compose):
    model, batch = linear(composed), as_batch(POINTS[:, None])
    found = importance_weighted(model, batch, 3)
    torch.testing.assert_close(found.nll.float(), -log_p(), atol=1e-4, rtol=0)
    torch.manual_seed(0)
    terms = model.terms(batch, 60_000)
    torch.testing.assert_close(terms.distortion + terms.rate, -log_p(), atol=0.03, rtol=0)


def test_with_another_posterior_the_weights_still_give_p_of_x(composed: Compose):
    model, batch = linear(composed, exact=False), as_batch(POINTS[:, None])
    torch.manual_seed(0)
    found = importance_weighted(model, batch, 20_000)
    assert (found.error < 0.02).all()
    assert ((found.nll + log_p()).abs() < 4.5 * found.error).all()
    terms = model.terms(batch, 20_000)
    assert (terms.distortion + terms.rate > -log_p() + 0.05).all(), "the bound is not tight"


@torch.no_grad()
def test_information_of_a_linear_ladder(composed: Compose):
    """I(x; z) = ½ Σ ln(1 + var(z1) / σ²) under the model, since z2 adds nothing to z1."""
    model = linear(composed)
    torch.manual_seed(0)
    x = model.draw(2000)
    params = model.params(model.read(as_batch(x[:, None])))
    z = model.latent.posterior(params).sample()
    wanted = sum(0.5 * math.log1p((a**2 + s**2) / SIGMA**2) for a, s in zip(ABOVE, BELOW, strict=True))
    assert mutual_information(model.latent.posterior, params, z) == pytest.approx(wanted, abs=0.06)


def test_as_a_latent_variable():
    made = latent()
    params = made.params(torch.randn(5, H).double())
    q = made.posterior(params)
    assert isinstance(q, Chain)
    assert (made.dim, made.width) == (TOP + D, D)
    assert made.means(q) is None
    assert not made.units
    point = made.point(q)
    assert made.code(Auto()(q, 3).value).shape == (3, 5, D)
    _, _, merged, _ = gaussians(made, params, params[:, :TOP])
    torch.testing.assert_close(point, torch.cat([params[:, :TOP], merged], -1))
    shared = {id(parameter) for parameter in made.down.parameters()}
    assert shared.isdisjoint({id(parameter) for parameter in made.inference_parameters()})


@torch.no_grad()
def test_a_moved_top_moves_what_is_below_as_its_mean_does():
    made = latent()
    value = made.prior().sample()
    moved = made.moved(value, 1, 2.5)
    assert float(moved[1]) == 2.5
    assert float(moved[0]) == float(value[0])
    below = made.prior().second
    torch.testing.assert_close(moved[TOP:] - below(moved[:TOP]).mean, value[TOP:] - below(value[:TOP]).mean)
    assert (moved[TOP:] != value[TOP:]).all()
    assert torch.equal(made.moved(value, TOP, 1.0)[:TOP], value[:TOP])


REFUSED = [
    ("prior=mixture", ["latent=ladder", "prior that belongs to it", "prior=standard"]),
    ("regularizer=delta", ["latent=ladder", "regularizer=delta"]),
    ("regularizer=batch_norm", ["latent=ladder", "regularizer=batch_norm"]),
    ("regularizer=du_vae", ["latent=ladder", "is not Gaussian"]),
    ("model=toy estimator=enumerate", ["latent=ladder", "estimator=enumerate"]),
    ("model=nasm data=wikiqa", ["latent=ladder", "mean is not known", "latent=conditional"]),
    ("latent.top=0", ["latent.top=0", "at least 1"]),
]


@pytest.mark.parametrize(("typed", "said"), REFUSED, ids=[typed for typed, _ in REFUSED])
def test_what_cannot_work_is_refused(typed: str, said: list[str], composed: Compose):
    with pytest.raises(ConfigError) as refused:
        checked(composed("latent=ladder", *typed.split()))
    assert all(part in str(refused.value) for part in said), refused.value


@pytest.mark.parametrize(
    "typed",
    ["anneal=linear", "regularizer=free_bits", "regularizer=[mmd,mutual_information]", "model=nvdm", "estimator=score",
     "regularizer=aggressive", "estimator=pathwise", "encoder=transformer decoder=transformer"],
)  # fmt: skip
def test_what_can_is_not(typed: str, composed: Compose):
    checked(composed("latent=ladder", *typed.split()))
