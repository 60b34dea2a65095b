"""Discrete latent variables and their estimators, against sums over all values."""

from __future__ import annotations

import itertools
import math

import pytest
import scipy.stats
import torch
from torch.distributions import (
    AffineTransform,
    Bernoulli,
    Categorical,
    Independent,
    Normal,
    TransformedDistribution,
    kl_divergence,
)

from lvexp.data.batch import Batch
from lvexp.distributions.joint import Joint
from lvexp.distributions.onehot import OneHot
from lvexp.distributions.rate import in_closed_form, rate
from lvexp.distributions.support import configurations, support
from lvexp.draws import Draw, expect, product
from lvexp.errors import ConfigError
from lvexp.estimators.auto import Auto
from lvexp.estimators.blocks import Blocks
from lvexp.estimators.enumerate import Enumerate
from lvexp.estimators.gumbel import Gumbel
from lvexp.estimators.pathwise import Pathwise
from lvexp.estimators.score import Score
from lvexp.estimators.straight_through import StraightThrough
from lvexp.estimators.subset import Subset
from lvexp.latents.binary import Binary
from lvexp.latents.categorical import Categorical as CategoricalLatent
from lvexp.latents.categoricals import Categoricals
from lvexp.latents.gaussian import Gaussian
from lvexp.latents.mixed import Mixed

H, TEXTS, K = 5, 2, 4
LATENTS = {
    "categorical": lambda prior="uniform": CategoricalLatent(H, 4, 6, prior),
    "categoricals": lambda prior="uniform": Categoricals(H, 3, 4, 6, prior),
    "binary": lambda prior="uniform": Binary(H, 5, prior),
}
EVERY = {
    **LATENTS,
    "mixed": lambda: Mixed(
        H, z=lambda features: Gaussian(features, 2), c=lambda features: CategoricalLatent(features, 4)
    ),
}
ESTIMATORS = {
    "enumerate": Enumerate, "score": Score, "gumbel": Gumbel, "hard": lambda: Gumbel(hard=True),
    "straight_through": StraightThrough, "subset": Subset, "auto": Auto,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


# --- latents ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_shapes_of_a_latent(name):
    latent = EVERY[name]()
    features = torch.randn(6, H, requires_grad=True)
    params = latent.params(features)
    q, p = latent.posterior(params), latent.prior()
    assert q.batch_shape == (6,)
    draw = Auto()(q, 2)
    assert latent.code(draw.value).shape == (len(draw.value), 6, latent.width)
    assert latent.code(p.sample((2, 7))).shape == (2, 7, latent.width)
    assert latent.code(latent.point(q)[None]).shape == (1, 6, latent.width)
    total, split = rate(q, p, draw)
    assert split.shape == (6, latent.dim)
    torch.testing.assert_close(split.sum(-1), total)
    marginals = latent.marginals(q)
    assert marginals.shape == (6, len(latent.values), max(latent.values))
    torch.testing.assert_close(marginals.sum(-1), torch.ones(6, len(latent.values)))
    (total.sum() + latent.code(draw.value).sum()).backward()
    assert (features.grad != 0).any(1).all()
    own = {id(parameter) for parameter in latent.inference_parameters()}
    assert own, "what makes q is trained with the encoder"
    assert (name == "binary") == (own == {id(parameter) for parameter in latent.parameters()})
    assert (latent.means(q) is not None) == latent.continuous == (name == "mixed")
    assert latent.configurations == {"categorical": 4, "categoricals": 64, "binary": 32, "mixed": None}[name]


@pytest.mark.parametrize("prior", ["uniform", "learned"])
@pytest.mark.parametrize("name", LATENTS)
def test_the_rate_is_the_sum_over_all_values(name, prior):
    latent = LATENTS[name](prior)
    if prior == "learned":
        with torch.no_grad():
            latent.logits.normal_()
        assert latent.logits.requires_grad
    q, p = latent.posterior(2 * latent.params(torch.randn(3, H))), latent.prior()
    every = support(q)
    assert len(every) == configurations(q) == latent.configurations
    assert len(every[:, 0].flatten(1).unique(dim=0)) == len(every), "no value twice"
    log_q, log_p = q.log_prob(every), p.log_prob(every)
    torch.testing.assert_close(log_q.exp().sum(0), torch.ones(3))
    torch.testing.assert_close(log_p.exp().sum(0), torch.ones(3))
    for draw in (Enumerate()(q, 1), Gumbel()(q, 2)):  # relaxed draws have the exact rate too
        total, _ = rate(q, p, draw)
        torch.testing.assert_close(total, (log_q.exp() * (log_q - log_p)).sum(0))
    if prior == "uniform" and name != "binary":
        entropy = Categorical(probs=q.mean).entropy().sum(-1)
        torch.testing.assert_close(total, math.log(4) * latent.dim - entropy)


def test_one_hot_is_torchs_at_values_and_linear_between():
    logits = torch.randn(3, K)
    ours, theirs = OneHot(logits=logits), torch.distributions.OneHotCategorical(logits=logits)
    value = theirs.sample((5,))
    torch.testing.assert_close(ours.log_prob(value), theirs.log_prob(value))
    middle = torch.lerp(value[0], value[1], 0.3)
    torch.testing.assert_close(ours.log_prob(middle), torch.lerp(ours.log_prob(value[0]), ours.log_prob(value[1]), 0.3))
    torch.testing.assert_close(kl_divergence(ours, ours.expand((3,))), torch.zeros(3))


@pytest.mark.parametrize("name", LATENTS)
def test_a_relaxed_code_is_a_mixture_of_codes(name):
    latent = LATENTS[name]()
    one, other = latent.posterior(latent.params(torch.randn(2, H))).sample((2,))
    mixed = latent.code(torch.lerp(one, other, 0.3)[None])
    torch.testing.assert_close(mixed, torch.lerp(latent.code(one[None]), latent.code(other[None]), 0.3))


def test_the_point_is_the_most_probable_value():
    for name, make in LATENTS.items():
        latent = make()
        q = latent.posterior(3 * latent.params(torch.randn(4, H)))
        every = support(q)
        best = every[q.log_prob(every).argmax(0), torch.arange(4)]
        torch.testing.assert_close(latent.point(q), best, msg=name)
    assert LATENTS["binary"]().point(Independent(Bernoulli(torch.full((2, 5), 0.5)), 1)).isfinite().all()


def test_what_is_observed_is_a_point_with_the_prior_for_a_rate():
    """An observed class: every estimator draws it, nothing of it is learned from the draw, KL = -log p(y)."""
    latent = LATENTS["categorical"]("learned")
    with torch.no_grad():
        latent.logits.normal_()
    params = latent.params(torch.randn(3, H)).detach().requires_grad_()
    labels = torch.tensor([2, -1, 0])
    q = latent.posterior(latent.observe(params, labels[:, None]))
    for estimator in (Enumerate(), Score(), Gumbel(), Gumbel(hard=True), StraightThrough(), Subset()):
        draw = estimator(q, 3)
        cost = (latent.code(draw.value).square().sum(-1) + 1) * 3
        value = expect(cost, draw)
        truth = (latent.code(torch.eye(4)[labels.clamp(min=0)][None, :, None])[0].square().sum(-1) + 1) * 3
        torch.testing.assert_close(value[[0, 2]], truth[[0, 2]])
        (gradient,) = torch.autograd.grad(value.sum(), params, retain_graph=True)
        assert (gradient[[0, 2]] == 0).all()
        assert (gradient[1] != 0).any()
    total, _ = rate(q, latent.prior(), draw)
    torch.testing.assert_close(total[[0, 2]], -latent.logits[0].log_softmax(-1)[[2, 0]])
    (logits,) = latent.class_logits(params)
    torch.testing.assert_close(logits, params)


def test_a_mixed_value_is_taken_apart_and_put_together():
    latent = EVERY["mixed"]()
    params = latent.params(torch.randn(3, H))
    q = latent.posterior(params)
    value = q.sample((5,))
    parts = q.split(value)
    assert parts["z"].shape == (5, 3, 2)
    assert parts["c"].shape == (5, 3, 1, 4)
    assert torch.equal(q.joined(parts), value)
    torch.testing.assert_close(q.log_prob(value), sum(q.blocks[name].log_prob(part) for name, part in parts.items()))
    torch.testing.assert_close(q.expand((3,)).log_prob(value), q.log_prob(value))
    observed = latent.posterior(latent.observe(params, torch.tensor([[1], [-1], [3]])))
    torch.testing.assert_close(observed.blocks["z"].mean, q.blocks["z"].mean)
    assert observed.blocks["c"].mean[0, 0].tolist() == [0, 1, 0, 0]
    torch.testing.assert_close(observed.blocks["c"].mean[1], q.blocks["c"].mean[1])
    fixed = q.split(latent.fixed(value, torch.tensor([[1], [-1], [3]]).expand(5, -1, -1)))
    assert torch.equal(fixed["z"], parts["z"])
    assert torch.equal(fixed["c"][:, 1], parts["c"][:, 1])
    assert (fixed["c"][:, [0, 2], 0].argmax(-1) == torch.tensor([1, 3])).all()


# --- estimators ------------------------------------------------------------------------------------------------------


LOGITS = torch.tensor([[0.3, -1.2, 0.9, 0.1], [2.0, 0.1, -0.4, 0.0]])
COST = torch.tensor([[14.0, 8.0, 11.0, 9.5], [10.5, 13.0, 17.0, 9.0]])  # of each value, for each text


def batch(texts: int = TEXTS) -> Batch:
    return Batch.of([[2, 5, 6, 3], [2, 7, 3]] * (texts // 2))


def exact(logits=LOGITS, cost=COST):
    logits = logits.clone().requires_grad_()
    value = (logits.softmax(-1) * cost).sum(-1)
    return value.detach(), torch.autograd.grad(value.sum(), logits)[0]


def gradients(estimator, samples: int, groups: int, cost=None):
    """One gradient of E[cost] towards the logits for each group, [groups, TEXTS, K]; costs are those of the mixture."""
    logits = LOGITS.repeat(groups, 1).requires_grad_()
    draw = estimator(OneHot(logits=logits, validate_args=False), samples)
    found = (draw.value * COST.repeat(groups, 1)).sum(-1) if cost is None else cost(draw.value, groups)
    control = estimator.control(found, batch(TEXTS * groups))
    value = expect(found, draw, control.baseline, control.scale)
    return torch.autograd.grad(value.sum(), logits)[0].view(groups, TEXTS, K)


def deviation(found, known):
    """How many standard errors the mean over groups lies off, for each entry."""
    return (found.mean(0) - known) / (found.std(0) / len(found) ** 0.5)


@pytest.mark.parametrize("kind", ["one", "several", "bits"])
def test_enumeration_is_autograd_of_the_sum(kind):
    """Of value and gradient, with a cost in which the variables depend on each other and that has a parameter."""
    weights = torch.randn(12, requires_grad=True)
    logits = torch.randn(TEXTS, {"one": 4, "several": 12, "bits": 5}[kind], requires_grad=True)
    if kind == "bits":
        q = Independent(Bernoulli(logits=logits), 1)
        values = torch.tensor(list(itertools.product([0.0, 1.0], repeat=5)))
        mass = torch.stack(
            [torch.where(value == 1, logits.sigmoid(), 1 - logits.sigmoid()).prod(-1) for value in values]
        )
    else:
        n = 1 if kind == "one" else 3
        q = Independent(OneHot(logits=logits.view(TEXTS, n, 4)), 1)
        rows = list(itertools.product(range(4), repeat=n))
        values = torch.stack([torch.eye(4)[list(row)].flatten() for row in rows])
        each = logits.view(TEXTS, n, 4).softmax(-1)
        mass = torch.stack([torch.stack([each[:, i, k] for i, k in enumerate(row)]).prod(0) for row in rows])

    def cost(flat):
        return (flat @ weights[: flat.shape[-1]]).square() + flat.sum(-1).sin()

    draw = Enumerate()(q, 1)
    found = expect(cost(draw.value.flatten(2)), draw)
    known = (mass * cost(values)[:, None]).sum(0)
    torch.testing.assert_close(found, known)
    for ours, theirs in zip(
        torch.autograd.grad(found.sum(), (logits, weights)),
        torch.autograd.grad(known.sum(), (logits, weights)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_enumeration_has_a_limit():
    q = Independent(Bernoulli(torch.full((2, 9), 0.5)), 1)
    assert len(Enumerate(limit=512)(q, 1).value) == 512
    with pytest.raises(ConfigError, match="512 values"):
        Enumerate(limit=511)(q, 1)
    with pytest.raises(ConfigError, match="no end of values"):
        Enumerate()(Independent(torch.distributions.Normal(torch.zeros(2, 1), 1), 1), 1)


BASELINES = [("none", 1), ("mean", 1), ("input", 1), ("none", 4), ("leave_one_out", 2), ("leave_one_out", 4)]


def scored(baseline: str) -> Score:
    """A score estimator whose running means have seen the costs."""
    estimator = Score(baseline)
    estimator.attach(10)
    for step in range(40):
        torch.manual_seed(step)
        gradients(estimator, 2, 8)
    torch.manual_seed(1)
    return estimator


@pytest.mark.parametrize(("baseline", "samples"), BASELINES)
def test_the_score_function_is_unbiased_with_every_baseline(baseline, samples):
    """8 entries for each of 6 cases from 40,000 gradients: beyond 4.5 standard errors with probability 3e-4 in all (for
    a normal mean); a bias of 2 % of the largest entry would be seen. The seed is fixed."""
    found, (_, known) = gradients(scored(baseline), samples, 40_000), exact()
    error = found.std(0) / len(found) ** 0.5
    assert (deviation(found, known).abs() < 4.5).all()
    if baseline != "none":
        assert error.max() < 0.02 * known.abs().max()


def test_a_baseline_that_saw_its_own_draw_is_found_out():
    """The test above can fail: the mean over all draws, each one's own among them, shrinks the gradient."""

    class Cheat(Score):
        def control(self, cost, batch):
            return type(super().control(cost, batch))(baseline=cost.mean(0))

    found, (_, known) = gradients(Cheat(), 4, 40_000), exact()
    assert deviation(found, known).abs().max() > 20


def test_variance_falls_from_baseline_to_baseline():
    """None, the running mean, then the text's own; more draws, and leaving one out, below the plain mean of as many.
    The costs of the two texts differ little, so the text's own gains little here."""
    variance = {
        (name, samples): gradients(scored(name), samples, 5_000).var(0).sum().item()
        for name, samples in [*BASELINES, ("mean", 4)]
    }
    assert variance["none", 1] > 3 * variance["mean", 1]
    assert variance["none", 1] > 3 * variance["input", 1]
    assert variance["none", 1] == pytest.approx(4 * variance["none", 4], rel=0.1), "draws are independent"
    assert variance["leave_one_out", 4] < 0.3 * variance["none", 4]
    assert variance["leave_one_out", 4] < variance["leave_one_out", 2]


def test_a_baseline_of_the_text_wins_where_texts_differ():
    apart = torch.tensor([[100.0], [0.0]])

    def cost(value, groups):
        return (value * (COST + apart).repeat(groups, 1)).sum(-1)

    found = {}
    for name in ("mean", "input"):
        estimator = Score(name)
        estimator.attach(10)
        optimizer = torch.optim.Adam(estimator.parameters(), 0.02) if name == "input" else None
        for _ in range(150):
            logits = LOGITS.repeat(4, 1)
            draw = estimator(OneHot(logits=logits), 1)
            control = estimator.control(cost(draw.value, 4), batch(8))
            if optimizer is not None:
                assert (torch.as_tensor(control.fit) == 0).all(), "what fits the baseline adds nothing to the loss"
                control.fit.sum().backward()
                optimizer.step()
                optimizer.zero_grad()
        found[name] = gradients(estimator, 1, 3_000, cost).var(0).sum().item()
    assert found["input"] < 0.1 * found["mean"]


def test_normalising_divides_by_the_running_deviation():
    plain, scaled = Score("mean"), Score("mean", normalise=True)
    for step in range(200):
        for estimator in (plain, scaled):
            torch.manual_seed(step)
            gradients(estimator, 1, 16)
    torch.manual_seed(1)
    long = gradients(plain, 1, 50)
    torch.manual_seed(1)
    short = gradients(scaled, 1, 50)
    ratio = (long / short)[short != 0]
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio))
    draws = OneHot(logits=LOGITS).sample((20_000,))
    spread = (draws * COST).sum(-1).flatten()
    # about one mean for both texts; a running mean over the last twenty steps of 32 costs
    assert ratio[0].item() == pytest.approx(spread.std().item(), rel=0.15)
    cheap = Score("none", normalise=True)
    for _ in range(50):
        scale = cheap.control(torch.full((1, 2), 0.01), batch()).scale
    assert scale == 1, "small costs are not blown up"


def test_a_learned_baseline_is_trained_and_its_state_is_saved():
    estimator = scored("input")
    other = Score("input")
    other.attach(10)
    other.load_state_dict(estimator.state_dict())
    assert torch.equal(other.mean, estimator.mean)
    assert len(list(estimator.parameters())) == 5
    before = estimator.mean.clone()
    estimator.eval()
    estimator.control(torch.full((1, 2), 1e6), batch())
    assert torch.equal(before, estimator.mean), "a validation teaches nothing"


def test_leave_one_out_and_a_subset_need_company():
    with pytest.raises(ConfigError, match="samples=4"):
        Score("leave_one_out").control(torch.zeros(1, 2), batch())
    with pytest.raises(ConfigError, match="samples=4"):
        Subset()(OneHot(logits=LOGITS), 1)
    with pytest.raises(ConfigError, match="baseline"):
        Score("median")
    with pytest.raises(ConfigError, match="same draws"):
        Blocks(z=Pathwise(), c=Score("leave_one_out"))


def test_gumbel_max_draws_what_it_should():
    """20,000 hard draws against the probabilities, chi-square; p > 1e-3 at this seed, and far from it for others."""
    q = OneHot(logits=LOGITS[:1])
    for tau in (0.1, 2.0):
        counts = Gumbel(tau, hard=True)(q, 20_000).value.sum((0, 1))
        assert scipy.stats.chisquare(counts.numpy(), (q.probs[0] * 20_000).numpy(), sum_check=False).pvalue > 1e-3
        wrong = LOGITS[0].mul(0.9).softmax(-1) * 20_000
        assert scipy.stats.chisquare(counts.numpy(), wrong.numpy(), sum_check=False).pvalue < 1e-3
    soft = Gumbel(0.5)(q, 20_000).value  # and the largest entry of a soft draw is the hard one
    counts = torch.bincount(soft[:, 0].argmax(-1), minlength=4)
    assert scipy.stats.chisquare(counts.numpy(), (q.probs[0] * 20_000).numpy(), sum_check=False).pvalue > 1e-3
    torch.testing.assert_close(soft.sum(-1), torch.ones(20_000, 1))
    bits = Independent(Bernoulli(logits=torch.tensor([[0.7, -1.0]])), 1)
    share = Gumbel(0.3, hard=True)(bits, 20_000).value.mean((0, 1))
    error = (bits.mean[0] * (1 - bits.mean[0]) / 20_000).sqrt()
    assert ((share - bits.mean[0]).abs() < 4.5 * error).all()


def curved(value, groups):
    """A cost that is not linear between values, as a decoder's is not; at the values it is COST."""
    return (value.square() * COST.repeat(groups, 1)).sum(-1) + (1 - value.square().sum(-1)) * 5


def test_gumbel_is_less_biased_and_noisier_the_lower_the_temperature():
    """Bias in standard deviations of the mean of 40,000 gradients, so that differences are no noise."""
    _, known = exact()
    bias, variance = [], []
    for tau in (0.125, 0.25, 0.5, 1.0):
        found = gradients(Gumbel(tau), 1, 40_000, curved)
        bias.append((found.mean(0) - known).norm().item())
        variance.append(found.var(0).sum().item())
        assert tau < 0.5 or deviation(found, known).abs().max() > 20, "visibly biased"
    assert bias == sorted(bias)
    assert variance == sorted(variance, reverse=True)
    assert bias[0] < 0.5 * bias[-1]


def test_straight_through_is_exact_where_the_cost_is_linear():
    found, (_, known) = gradients(StraightThrough(), 1, 50), exact()
    torch.testing.assert_close(found.mean(0), known)
    curve = gradients(StraightThrough(), 1, 40_000, curved)
    assert deviation(curve, known).abs().max() > 20
    for estimator in (StraightThrough(), Gumbel(hard=True)):
        value = estimator(OneHot(logits=LOGITS.clone().requires_grad_()), 50).value
        torch.testing.assert_close(value, value.detach().round())


def test_the_temperature_falls_to_its_floor():
    annealed = Gumbel(temperature=0.5, rate=1e-3)
    found = []
    for step in (0, 100, 10_000):
        annealed.begin(step)
        found.append(annealed.tau)
    assert found == pytest.approx([1.0, math.exp(-0.1), 0.5])
    fixed = Gumbel(temperature=0.3)
    fixed.begin(10**6)
    assert fixed.tau == 0.3


def test_a_subset_of_everything_is_the_enumeration():
    logits = LOGITS.clone().requires_grad_()
    q = OneHot(logits=logits)
    draw = Subset()(q, 400)
    value = expect((draw.value * COST).sum(-1), draw)
    known, gradient = exact()
    torch.testing.assert_close(value, known)
    torch.testing.assert_close(torch.autograd.grad(value.sum(), logits, retain_graph=True)[0], gradient)
    few = Subset()(q, 3)
    torch.testing.assert_close(few.log_weight.exp().sum(0), torch.ones(2))
    found = gradients(Subset(), 2, 20_000)
    assert deviation(found, gradient).abs().max() > 20, "a small one is biased"


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_report_is_made_from_true_values_whatever_the_estimator(name):
    estimator = ESTIMATORS[name]().eval()
    few = estimator(OneHot(logits=LOGITS), 3)
    assert len(few.value) == K
    torch.testing.assert_close(few.log_weight.exp(), LOGITS.softmax(-1).T)
    many = estimator(Independent(Bernoulli(torch.full((2, 40), 0.5)), 1), 3).value
    assert many.shape == (3, 2, 40)
    assert set(many.unique().tolist()) == {0.0, 1.0}


# --- blocks ----------------------------------------------------------------------------------------------------------


def test_a_product_of_draws_is_all_combinations():
    """E over a Gaussian and a categorical: enumerating c beside draws of z is the mean of exact sums over c."""
    z = Pathwise()(Independent(torch.distributions.Normal(torch.zeros(2, 3), torch.ones(2, 3)), 1), 5)
    c = Enumerate()(OneHot(logits=LOGITS), 1)
    both = product([z, c])
    assert both.value.shape == (20, 2, 7)
    torch.testing.assert_close(both.log_weight.exp().sum(0), torch.ones(2))
    cost = both.value[..., :3].sum(-1).square() * (both.value[..., 3:] * COST).sum(-1)
    known = z.value.sum(-1).square().mean(0) * (LOGITS.softmax(-1) * COST).sum(-1)
    torch.testing.assert_close(expect(cost, both), known)
    assert isinstance(product([z]), Draw)


def test_a_rate_needs_no_draws_if_that_of_no_block_does():
    code = OneHot(logits=LOGITS, validate_args=False)
    normal = Independent(Normal(torch.zeros(TEXTS, 1), torch.ones(TEXTS, 1)), 1)
    shifted = TransformedDistribution(normal, [AffineTransform(1.0, 2.0)])
    p = Joint({"c": code, "z": normal})
    assert in_closed_form(Joint({"c": code, "z": normal}), p)
    assert not in_closed_form(Joint({"c": code, "z": shifted}), p)


@pytest.mark.parametrize("part", [Enumerate, lambda: Score("mean"), lambda: Score("input")])
def test_blocks_agree_with_the_exact_sum(part):
    """Gradients towards mean of z and logits of c; 8 entries beyond 4.5 standard errors: 5e-5 for a normal mean."""
    groups = 20_000
    logits = LOGITS.repeat(groups, 1).requires_grad_()
    mean = torch.full((TEXTS * groups, 1), 0.5).requires_grad_()
    q = Joint({
        "z": Independent(torch.distributions.Normal(mean, torch.ones_like(mean)), 1),
        "c": OneHot(logits=logits, validate_args=False),
    })  # fmt: skip
    estimator = Blocks(z=Pathwise(), c=part())
    estimator.attach(10)
    for _ in range(2):  # at the second time the baseline has seen something
        draw = estimator(q, 1)
        cost = (1 + draw.value[..., 0].square()) * (draw.value[..., 1:] * COST.repeat(groups, 1)).sum(-1)
        control = estimator.control(cost, batch(TEXTS * groups))
    value = expect(cost, draw, control.baseline, control.scale)
    found = torch.autograd.grad(value.sum(), (mean, logits))
    plain, gradient = exact()
    known = (2 * 0.5 * plain[:, None], (1 + 0.5**2 + 1) * gradient)
    for ours, theirs in zip(found, known, strict=True):
        assert (deviation(ours.view(groups, TEXTS, -1), theirs).abs() < 4.5).all()
