from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import tiny
import torch
from torch.distributions import Normal

from lvexp.metrics import likelihood
from lvexp.metrics.likelihood import ImportanceWeighted, importance_weighted
from lvexp.networks import tail

TEXTS = ("a b c", "d e", "f")


@pytest.fixture(scope="module")
def model():
    """A one-dimensional z, so that p(x) is an integral over a line, and a posterior that is off the mark."""
    return tiny.model(dim=1, scale=4.0, seed=1).eval()


@pytest.fixture(scope="module")
def exact(model):
    """-log p(x) of each text, by the trapezoid rule on a fine grid over eight standard deviations."""
    grid = torch.linspace(-8, 8, 4001)
    with torch.no_grad():
        batch = tiny.encode(*TEXTS)
        log_p = model.log_likelihood(batch, model.read(batch), grid[:, None, None].expand(-1, 3, 1))
    log_joint = log_p.double() + Normal(0.0, 1.0).log_prob(grid).double()[:, None]
    return -torch.trapezoid(log_joint.exp(), grid.double(), dim=0).log()


def estimate(model, samples, repetitions=1, **more):
    """Repetitions are further copies of the texts in one batch, each with draws of its own: [repetitions, 3]."""
    torch.manual_seed(0)
    found = importance_weighted(model, tiny.encode(*TEXTS * repetitions), samples, **more)
    return SimpleNamespace(**{name: value.view(repetitions, 3) for name, value in vars(found).items()})


def test_z_matters_and_the_posterior_is_not_exact(model, exact):
    """Otherwise every test here would pass for nothing."""
    found = estimate(model, 1, 500)
    assert (found.nll.mean(0) > exact + 0.05).all()
    assert (found.nll.std(0) > 0.1).all()


def test_converges_to_the_exact_likelihood(model, exact):
    found = estimate(model, 2000, 20)
    error = found.error.square().mean(0).sqrt() / math.sqrt(20)
    assert (error < 0.01).all()
    assert ((found.nll.mean(0) - exact).abs() < 4 * error).all()


def test_falls_with_the_number_of_draws(model, exact):
    """In the mean over 2000 repetitions, by more than twice the standard error at each step."""
    found = [estimate(model, k, 2000).nll for k in (1, 3, 10)]
    for more, fewer in zip(found[1:], found, strict=False):
        assert ((fewer - more).mean(0) > 2 * (fewer.var(0) / 2000 + more.var(0) / 2000).sqrt()).all()
    assert (found[-1].mean(0) > exact - 4 * found[-1].std(0) / math.sqrt(2000)).all()


def test_one_draw_is_the_bound(model):
    nll = estimate(model, 1, 3000).nll
    torch.manual_seed(1)
    with torch.no_grad():
        terms = model.terms(tiny.encode(*TEXTS * 3000))
    bound = (terms.distortion + terms.rate).double().view(3000, 3)
    error = (nll.var(0) / 3000 + bound.var(0) / 3000).sqrt()
    assert ((nll.mean(0) - bound.mean(0)).abs() < 4 * error).all()


@pytest.mark.parametrize("positions", [1, 10, 17, 10_000])
def test_chunks_equal_one_shot(model, positions):
    batch = tiny.encode(*TEXTS)
    torch.manual_seed(0)
    reading = model.read(batch)
    params = model.params(reading)
    q, p = model.latent.posterior(params), model.latent.prior()
    value = torch.stack([q.sample() for _ in range(40)])
    with torch.no_grad():
        log_w = (model.log_likelihood(batch, reading, value) + p.log_prob(value) - q.log_prob(value)).double()
    torch.manual_seed(0)
    found = importance_weighted(model, batch, 40, positions=positions)
    w = log_w.exp()
    torch.testing.assert_close(found.nll, -w.mean(0).log(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.effective, w.sum(0) ** 2 / (w**2).sum(0), rtol=1e-4, atol=1e-4)
    without = torch.stack([torch.cat([w[:k], w[k + 1 :]]).mean(0).log() for k in range(40)])
    error = (39 / 40 * (without - without.mean(0)).square().sum(0)).sqrt()  # the jackknife, as a textbook writes it
    torch.testing.assert_close(found.error, error.detach(), rtol=1e-4, atol=1e-4)


def test_decoder_never_scores_more_at_once_than_told(model, monkeypatch):
    seen = []
    scored = type(model).log_likelihood

    def watch(self, batch, reading, code, inputs=None):
        seen.append(code.shape[0] * batch.tokens.numel())
        return scored(self, batch, reading, code, inputs)

    monkeypatch.setattr(type(model), "log_likelihood", watch)
    estimate(model, 30, positions=47)
    assert max(seen) <= 47
    assert sum(seen) == 30 * int(tiny.encode(*TEXTS).lengths.sum()), "padding is not scored"


@pytest.mark.parametrize("positions", [20, 300, 10_000])
def test_texts_of_mixed_lengths_score_as_each_alone(model, positions):
    texts = ["a b c d e f a", "a", "b c", "a b c", "", "f e d c b a"]
    torch.manual_seed(0)
    batch = tiny.encode(*texts)
    value = torch.randn(40, len(texts), 1)
    found = likelihood._scored(model, batch, model.read(batch), value, positions)
    for row, text in enumerate(texts):
        alone = tiny.encode(text)
        with torch.no_grad():
            wanted = model.log_likelihood(alone, model.read(alone), value[:, row : row + 1])[:, 0]
        torch.testing.assert_close(found[:, row], wanted, rtol=1e-5, atol=1e-5)


def test_standard_error_is_the_spread_over_repetitions(model):
    """Over 500 repetitions a standard deviation is known to about 3 %."""
    found = estimate(model, 100, 500)
    told = found.error.square().mean(0).sqrt()
    assert ((told / found.nll.std(0) - 1).abs() < 0.15).all()


def test_effective_draws_lie_between_one_and_k(model):
    found = estimate(model, 30)
    assert (found.effective >= 1).all()
    assert (found.effective <= 30).all()


def test_exact_posterior_needs_one_draw():
    """q = p and a decoder deaf to z: every weight is p(x)."""
    deaf = tiny.model(dim=2).eval()
    with torch.no_grad():
        deaf.latent.linear.weight.zero_()
        deaf.decoder.output.weight.zero_()
    found = importance_weighted(deaf, tiny.encode(*TEXTS), 5)
    expected = torch.tensor([4.0, 3.0, 2.0]).double() * math.log(tiny.V)
    torch.testing.assert_close(found.nll, expected, rtol=1e-5, atol=1e-5)
    assert (found.error < 1e-3).all()
    torch.testing.assert_close(found.effective, torch.full((3,), 5.0).double(), rtol=1e-3, atol=0)


def test_metric_over_a_corpus(model):
    metric = ImportanceWeighted(samples=20)
    torch.manual_seed(5)
    parts = [importance_weighted(model, batch, 20) for batch in tiny.corpus()]
    torch.manual_seed(5)
    for batch in tiny.corpus():
        metric.update(model, batch)
    found = metric.compute()
    nll, error = torch.cat([part.nll for part in parts]), torch.cat([part.error for part in parts])
    assert found["nll_iw"] == pytest.approx(float(nll.mean()))
    assert found["nll_iw_se"] == pytest.approx(float(error.square().sum().sqrt() / 11))
    assert found["ppl_iw"] == pytest.approx(math.exp(float(nll.sum()) / sum(b.predicted() for b in tiny.corpus())))
    assert found["iw_samples"] == 20


def test_one_draw_has_no_standard_error(model):
    metric = ImportanceWeighted(samples=1)
    metric.update(model, tiny.encode("a"))
    assert metric.compute()["nll_iw_se"] is None


def test_without_a_tolerance_every_text_gets_k_draws(model):
    assert estimate(model, 45).draws.unique().tolist() == [45]


def test_a_tolerance_stops_each_text_when_its_error_is_small_enough(model):
    most = 40 * likelihood.ROUND
    found = estimate(model, most, 40, tolerance=0.05)
    stopped = found.draws < most
    assert (found.error[stopped] <= 0.05).all()
    assert (found.draws % likelihood.ROUND == 0).all()
    assert len(found.draws.unique()) > 2  # the texts differ in what they need


def test_a_stopped_text_saw_the_first_of_the_draws_it_would_have_seen(model):
    found = estimate(model, 40 * likelihood.ROUND, 40, tolerance=0.15)
    for draws in found.draws.unique().long().tolist()[:3]:
        whole = estimate(model, draws, 40)
        same = found.draws == draws
        torch.testing.assert_close(found.nll[same], whole.nll[same], rtol=1e-6, atol=1e-6)


def test_a_tolerance_leans_to_a_larger_nll_by_less_than_itself(model, exact):
    """The bias that the docstring tells of, in the mean over 1000 repetitions."""
    found = estimate(model, 100 * likelihood.ROUND, 1000, tolerance=0.1)
    bias = found.nll.mean(0) - exact
    assert (bias < 0.1).all()
    assert (bias > -4 * found.nll.std(0) / math.sqrt(1000)).all()
    assert (found.draws < 100 * likelihood.ROUND).all()


@pytest.fixture
def few_words(monkeypatch):
    """With which words are sampled in the vocabulary of ten, for 17 draws or more."""
    monkeypatch.setattr(tail, "LEAST", 17)
    return 4


def test_sampled_words_are_worth_the_error_that_is_said(model, few_words):
    """The same draws of z, with words sampled and without; the weights are spread over many draws, so that what is
    checked is not all."""
    whole, found = (estimate(model, 160, 100, words=words) for words in (None, few_words))
    actual, said = (found.nll - whole.nll).square().mean().sqrt(), found.tail.square().mean().sqrt()
    assert actual > 1e-3
    assert said / 10 < actual < said  # an upper limit: the errors of the draws of a text partly cancel
    assert (found.error >= found.tail).all()
    assert (whole.tail == 0).all()


def test_words_are_sampled_however_few_positions_are_scored_at_once(model, few_words):
    assert (estimate(model, 160, 10, words=few_words, positions=1).tail > 0).all()


def test_draws_of_the_largest_weights_are_scored_with_all_words(model, few_words):
    """With one draw in one, nothing is left to the sampled words."""
    whole = estimate(model, 160, 10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(likelihood, "CHECKED", 1)
        found = estimate(model, 160, 10, words=few_words)
    torch.testing.assert_close(found.nll, whole.nll, rtol=1e-6, atol=1e-6)
    assert (found.tail < 1e-6).all()


def test_of_many_draws_those_of_the_largest_weights_are_scored_again(model, few_words, monkeypatch):
    calls, scored = [], likelihood._scored
    monkeypatch.setattr(likelihood, "_scored", lambda *given: calls.append((given[3], scored(*given))) or calls[-1][1])
    found = estimate(model, 320, words=few_words)
    (drawn, sampled), (again, exact) = calls
    assert len(again) == 320 / likelihood.CHECKED
    ratio = Normal(0.0, 1.0).log_prob(drawn[..., 0])
    batch = tiny.encode(*TEXTS)
    q = model.latent.posterior(model.params(model.read(batch)))
    ratio -= q.log_prob(drawn)
    for text in range(3):
        weight = dict(zip(drawn[:, text, 0].tolist(), (sampled + ratio)[:, text].tolist(), strict=True))
        largest = sorted(weight, key=weight.__getitem__)[-len(again) :]
        assert set(again[:, text, 0].tolist()) == set(largest)
        log_w = {z: w for z, w in weight.items() if z not in largest}
        shares = torch.tensor(list(log_w.values())).logsumexp(0)
        whole = torch.tensor([float(shares), *(exact[:, text] + ratio_of(ratio, drawn, again, text)).tolist()])
        assert float(found.nll[0, text]) == pytest.approx(math.log(320) - float(whole.logsumexp(0)), abs=1e-5)


def ratio_of(ratio, drawn, again, text):
    """log p(z) - log q(z|x) of the draws that were scored again."""
    known = dict(zip(drawn[:, text, 0].tolist(), ratio[:, text].tolist(), strict=True))
    return torch.tensor([known[z] for z in again[:, text, 0].tolist()])
