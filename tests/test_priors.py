"""Priors that are chosen beside the posterior: densities, rates, draws, gradients; and what is refused."""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers import Compose, checked, plain
from omegaconf import OmegaConf
from torch.distributions import Independent, Normal

from lvexp import build
from lvexp.__main__ import MENU
from lvexp.checks import keys, refusals
from lvexp.data.batch import Batch
from lvexp.data.vocabulary import Vocabulary
from lvexp.distributions.rate import rate
from lvexp.draws import Draw
from lvexp.errors import ConfigError, Refusal
from lvexp.latents.dirichlet import Dirichlet
from lvexp.latents.gaussian import Gaussian
from lvexp.latents.iaf import IAF
from lvexp.networks.cnn import ConvolutionalEncoder
from lvexp.networks.recurrent import RecurrentEncoder
from lvexp.priors.base import AbstractPrior
from lvexp.priors.flow import Flow
from lvexp.priors.mixture import Mixture
from lvexp.priors.vamp import Vamp

TEXTS = ["a b c d", "c b", "d e f a", "f e e", "a a c f"]
WORDS = Vocabulary.train(TEXTS, kind="words", max_size=50, min_count=1, lowercase=False)


def vamp(components: int = 7, dim: int = 2, **how: Any) -> Vamp:
    encoder = RecurrentEncoder(WORDS.size, embedding=6, hidden=9)
    return Vamp(dim, encoder, Gaussian(9, dim), components, **how)


def mixture() -> Mixture:
    made = Mixture(2, components=5, spread=1.5)
    torch.nn.init.normal_(made.params[:, 2:], std=0.5)
    return made


def flow(dim: int = 2) -> Flow:
    made = Flow(dim, transforms=3, hidden=16)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.25)
    return made


PRIORS = pytest.mark.parametrize("make", [mixture, vamp, flow], ids=lambda make: make.__name__)


@PRIORS
def test_the_density_integrates_to_one(make):
    torch.manual_seed(0)
    p = make()()
    assert p.batch_shape == ()
    edge = torch.linspace(-16, 16, 1601)
    with torch.no_grad():
        grid = torch.cartesian_prod(edge, edge)
        total = torch.cat([p.log_prob(part).double().exp() for part in grid.split(200_000)]).sum() * 0.02**2
    assert total.item() == pytest.approx(1, abs=2e-3)


@PRIORS
def test_draws_fit_the_density(make):
    """E log p over draws is the integral of p log p; 20,000 draws, 4.5 standard errors."""
    torch.manual_seed(0)
    with torch.no_grad():
        p = make()()
        z = p.sample((20_000,))
        edge = torch.linspace(-16, 16, 1601)
        log_p = torch.cat([p.log_prob(part) for part in torch.cartesian_prod(edge, edge).split(200_000)]).double()
        wanted = (log_p.exp() * log_p).sum() * 0.02**2
        each = p.log_prob(z).double()
    assert each.std() / 20_000**0.5 < 0.02
    assert abs(each.mean() - wanted) < 4.5 * each.std() / 20_000**0.5


@PRIORS
def test_the_rate_is_estimated_and_its_gradient_reaches_both_sides(make):
    torch.manual_seed(0)
    latent = Gaussian(5, 2)
    prior = make()
    latent.give(prior)
    assert latent.has_prior
    q = latent.posterior(latent.params(torch.randn(6, 5)))
    draw = Draw.equal(q.rsample(torch.Size((3,))))
    total, split = rate(q, latent.prior(), draw)
    assert split is None
    by_hand = (q.log_prob(draw.value) - prior().log_prob(draw.value)).mean(0)
    torch.testing.assert_close(total, by_hand)
    total.sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in prior.parameters())
    assert latent.linear.weight.grad.abs().sum() > 0
    assert {id(p) for p in latent.inference_parameters()}.isdisjoint({id(p) for p in prior.parameters()})


def test_a_mixture_of_one_at_the_origin_is_the_standard_prior():
    torch.manual_seed(0)
    p, z = Mixture(3, components=1, spread=0.0)(), torch.randn(4, 5, 3)
    torch.testing.assert_close(p.log_prob(z), Independent(Normal(torch.zeros(3), torch.ones(3)), 1).log_prob(z))


def test_a_mixture_by_hand():
    torch.manual_seed(0)
    prior, z = mixture(), torch.randn(6, 2)
    mean, log_variance = prior.params.chunk(2, -1)
    square = (z[:, None] - mean).square() / log_variance.exp()
    each = -0.5 * (square + log_variance + math.log(2 * math.pi)).sum(-1)
    torch.testing.assert_close(prior().log_prob(z), each.logsumexp(-1) - math.log(5))


@pytest.mark.parametrize("standardised", [False, True])
@pytest.mark.parametrize("kind", [RecurrentEncoder, ConvolutionalEncoder])
def test_a_vamp_prior_of_the_training_texts_is_the_aggregate_posterior(kind, standardised: bool):
    torch.manual_seed(0)
    encoder = kind(WORDS.size, embedding=6, hidden=9).eval()
    latent = Gaussian(9, 3)
    batch = Batch.of(WORDS.encode(TEXTS))
    prior = Vamp(3, encoder, latent, components=len(TEXTS), standardised=standardised)
    latent.give(prior)
    with torch.no_grad():
        prior.lengths = batch.lengths.clone()
        prior.inputs = torch.nn.Parameter(encoder.embedding(batch.tokens))
        q = latent.posterior(latent.params(encoder(batch.tokens, batch.lengths)))
        z = q.sample((40,))
        aggregate = q.log_prob(z[:, :, None]).logsumexp(-1) - math.log(len(TEXTS))
        torch.testing.assert_close(prior().log_prob(z), aggregate)


@torch.no_grad()
@pytest.mark.parametrize("latent", [lambda: Gaussian(9, 3), lambda: IAF(9, 3, hidden=8, context=4)])
def test_a_standardised_vamp_prior_is_the_same_model_with_mean_0_and_variance_1(latent: Callable[[], Gaussian]):
    torch.manual_seed(0)
    encoder, made = RecurrentEncoder(WORDS.size, embedding=6, hidden=9), latent()
    torch.nn.init.normal_(made.linear.weight, std=5.0)
    prior = Vamp(3, encoder, made, components=6)
    batch = Batch.of(WORDS.encode(TEXTS))
    features = encoder(batch.tokens, batch.lengths)
    made.give(prior)
    free, plain_p = made.params(features), prior()
    prior.standardised = True
    params, p = made.params(features), prior()
    means, log_variances = made.linear(encoder(prior.inputs, prior.lengths))[:, :6].chunk(2, -1)
    m, s = means.mean(0), (means.var(0, correction=0) + log_variances.exp().mean(0)).sqrt()
    assert m.abs().max() > 0.3, "otherwise nothing is tested"
    torch.testing.assert_close(params[:, :3], (free[:, :3] - m) / s)
    torch.testing.assert_close(params[:, 3:6], free[:, 3:6] - 2 * s.log())
    torch.testing.assert_close(params[:, 6:], free[:, 6:])
    if type(made) is Gaussian:
        q, own = p.component_distribution.base_dist, plain_p.component_distribution.base_dist
        torch.testing.assert_close(q.loc.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
        torch.testing.assert_close(q.loc.var(0, correction=0) + q.scale.square().mean(0), torch.ones(3))
        torch.testing.assert_close(own.loc, q.loc * s + m)
        z = made.posterior(params).sample((20,))
        ours, _ = rate(made.posterior(params), p, Draw.equal(z))
        theirs, _ = rate(made.posterior(free), plain_p, Draw.equal(s * z + m))
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_what_all_texts_share_does_not_reach_a_standardised_z():
    """A shift of all means at once changes neither z nor, then, the loss: it gets no gradient."""
    torch.manual_seed(0)
    prior = vamp(standardised=True)
    encoder, latent = prior.of
    latent.give(prior)
    shift = torch.zeros(2, requires_grad=True)
    linear = latent.linear
    latent.linear = torch.nn.Sequential(linear, Shifted(shift))
    batch = Batch.of(WORDS.encode(TEXTS))
    params = latent.params(encoder(batch.tokens, batch.lengths))
    (gradient,) = torch.autograd.grad((params * torch.randn_like(params)).sum(), shift)
    torch.testing.assert_close(gradient, torch.zeros(2), atol=1e-5, rtol=0)


class Shifted(torch.nn.Module):
    def __init__(self, shift: torch.Tensor):
        super().__init__()
        self.shift = shift

    def forward(self, params: torch.Tensor) -> torch.Tensor:
        return torch.cat([params[:, :2] + self.shift, params[:, 2:]], -1)


def test_pseudo_inputs_start_as_words_and_their_lengths_are_quantiles():
    torch.manual_seed(0)
    prior = vamp(200, length=11.0, deviation=3.0)
    lengths = prior.lengths.double()
    assert lengths.mean().item() == pytest.approx(11, abs=0.1)
    assert lengths.std().item() == pytest.approx(3, abs=0.2)
    assert vamp(9, length=3.0, deviation=5.0).lengths.min() == 3
    words = prior.of[0].embedding.weight
    assert torch.equal(prior.inputs[:, 0], words[WORDS.special.bos].expand(200, -1))
    assert torch.equal(prior.inputs[5, prior.lengths[5] - 1], words[WORDS.special.eos])


def test_nothing_in_a_vamp_prior_holds_place_and_scale_of_z():
    """The rate is the same after z was stretched and shifted, since p(z) moves with q(z|x)."""
    torch.manual_seed(0)
    prior = vamp(dim=3)
    encoder, latent = prior.of
    params = torch.randn(5, 6)
    z = latent.posterior(params).sample((50,))
    before, _ = rate(latent.posterior(params), prior(), Draw.equal(z))
    stretch, shift = torch.tensor([3.0, 0.2, 1.5]), torch.tensor([10.0, -4.0, 2.0])

    class Moved(Gaussian):
        def posterior(self, params: torch.Tensor) -> torch.distributions.Distribution:
            mean, log_variance = params.chunk(2, -1)
            return super().posterior(torch.cat([stretch * mean + shift, log_variance + 2 * stretch.log()], -1))

    moved = Moved(9, 3)
    moved.load_state_dict(latent.state_dict())
    prior.of = (encoder, moved)
    after, _ = rate(moved.posterior(params), prior(), Draw.equal(stretch * z + shift))
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3)
    assert (before > 0.05).all(), "otherwise nothing is tested"


def test_a_vamp_prior_does_not_hold_the_encoder_and_refuses_vectors_as_wide_as_the_vocabulary():
    assert set(vamp().state_dict()) == {"inputs", "lengths"}
    with pytest.raises(ConfigError, match="as wide as the vocabulary is large"):
        Vamp(2, RecurrentEncoder(WORDS.size, embedding=WORDS.size, hidden=9), Gaussian(9, 2))


@pytest.mark.parametrize("dim", [2, 5])
def test_the_log_determinant_of_the_flow_is_that_of_its_jacobian(dim: int):
    torch.manual_seed(0)
    prior = flow(dim)
    p, z = prior(), torch.randn(4, dim)
    transform = prior.flow.transform()
    for row, log_p in zip(z, p.log_prob(z), strict=True):
        jacobian = torch.autograd.functional.jacobian(transform, row)
        base = Independent(Normal(torch.zeros(dim), torch.ones(dim)), 1).log_prob(transform(row))
        torch.testing.assert_close(log_p, base + torch.linalg.slogdet(jacobian)[1])
    torch.testing.assert_close(transform.inv(transform(z)), z, rtol=1e-4, atol=1e-4)


def test_a_latent_variable_with_a_prior_of_its_own_takes_no_other():
    with pytest.raises(ConfigError, match="Dirichlet has a prior of its own"):
        Dirichlet(5, 3).give(Mixture(3))


OPTIONS = ("mixture", "vamp", "flow")


@pytest.mark.parametrize("option", OPTIONS)
def test_a_model_with_a_prior_is_built_trains_its_parameters_and_reloads(option: str, composed: Compose):
    config = composed(f"prior={option}", *SMALL)
    checked(config)
    torch.manual_seed(0)
    model = build.model(plain(config), WORDS)
    assert isinstance(model.latent.given, AbstractPrior)
    generative = {id(p) for p in model.groups()["generative"]}
    assert all(id(p) in generative for p in model.latent.given.parameters())
    training = build.training(plain(config), model)
    batch = Batch.of(WORDS.encode(TEXTS))
    training.training_step(batch, 0).backward()
    assert all(p.grad is not None for p in model.latent.given.parameters())
    torch.manual_seed(1)
    other = build.model(plain(config), WORDS)
    other.load_state_dict(model.state_dict())
    z = torch.randn(3, 4)
    model.eval(), other.eval()
    torch.testing.assert_close(model.latent.prior().log_prob(z), other.latent.prior().log_prob(z))


SMALL = (
    *("latent.dim=4", "encoder.hidden=8", "decoder.hidden=8", "encoder.embedding=6", "decoder.embedding=8"),
    "regularizer=none",
)
REFUSED = [
    ("prior=mixture latent=categorical", ["latent=categorical", "prior that belongs to it", "prior=standard"]),
    ("prior=mixture latent=vmf", ["latent=vmf", "prior that belongs to it"]),
    ("prior=flow regularizer=delta", ["prior=flow", "another prior than N(0, I)", "prior=standard"]),
    ("prior=vamp regularizer=batch_norm", ["prior=vamp", "another prior", "leave out regularizer=batch_norm"]),
    (
        "prior=mixture regularizer.free_bits.per=dimension",
        ["prior=mixture", "does not split", "regularizer.free_bits.per=dimension", "per=example", "prior=standard"],
    ),
    ("prior=vamp encoder=bow", ["encoder=bow", "has no word vectors", "encoder=lstm"]),
    ("prior=vamp model=nvdm", ["prior=vamp", "has no word vectors"]),
    ("prior=vamp model=cvae data=multi30k latent=gaussian", ["model=cvae", "more than an encoder", "model=svae"]),
    ("prior=flow model=cvae data=multi30k latent=gaussian", ["prior=flow", "no mean to write from", "prior=mixture"]),
    ("prior=mixture model=ae", ["latent=point", "prior=standard"]),
    ("prior=mixture prior.components=0", ["prior.components=0", "at least 1"]),
]


@pytest.mark.parametrize(("typed", "said"), REFUSED, ids=[typed for typed, _ in REFUSED])
def test_what_cannot_work_is_refused(typed: str, said: list[str], composed: Compose):
    with pytest.raises(ConfigError) as refused:
        checked(composed(*typed.split()))
    assert all(part in str(refused.value) for part in said), refused.value


def test_a_size_that_the_posterior_decides_is_no_key(composed: Compose):
    config = composed("prior=mixture", "+prior.dim=3")
    with pytest.raises(ConfigError, match=r"prior.dim=3: there is no such key; prior=mixture reads components, spread"):
        keys.check(OmegaConf.to_container(config, resolve=False), dict(config.hydra.runtime.choices), MENU)


@pytest.mark.parametrize(
    "typed",
    [
        "prior=mixture",
        "prior=vamp anneal=linear encoder=cnn",
        "prior=flow regularizer=mmd estimator=score",
        "prior=mixture model=nvdm",
        "prior=flow regularizer=[semi_amortized,mutual_information]",
    ],
)
def test_what_can_is_not(typed: str, composed: Compose):
    checked(composed(*typed.split()))


def test_a_package_of_an_extra_that_is_not_there_is_named(composed: Compose, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(refusals.importlib.util, "find_spec", lambda package: None)
    with pytest.raises(ConfigError, match=r"prior=flow: zuko is not installed\ntry  pip install 'lvexp\[flows\]'"):
        checked(composed("prior=flow"))
    there = builtins.__import__

    def absent(name: str, *rest):
        if name == "zuko":
            raise ImportError(name)
        return there(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ConfigError, match="zuko is not installed"):
        Flow(3)


def test_the_standard_prior_leaves_the_id_as_it_was(composed: Compose):
    from lvexp.job import identity

    config = composed("latent=gaussian")
    assert "prior" not in identity.essence(config)
    assert identity.essence(composed("prior=mixture"))["prior"]["components"] == 100
    with pytest.raises(Refusal):
        checked(composed("prior=mixture", "latent=binary"))
