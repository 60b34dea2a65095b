"""Sequences of symbols and their estimators, against sums over all sequences."""

from __future__ import annotations

import math

import pytest
import torch

from lvexp.data.batch import Batch
from lvexp.distributions.rate import rate
from lvexp.distributions.sequences import Sequences, count
from lvexp.distributions.support import configurations
from lvexp.draws import Draw, expect
from lvexp.errors import ConfigError
from lvexp.estimators.auto import Auto
from lvexp.estimators.base import AbstractEstimator, enumerated
from lvexp.estimators.enumerate import Enumerate
from lvexp.estimators.gumbel import Gumbel
from lvexp.estimators.score import BASELINES, Score
from lvexp.estimators.straight_through import StraightThrough
from lvexp.estimators.subset import Subset
from lvexp.latents.dialogue import Dialogue
from lvexp.latents.symbols import Symbols

H, L, K, TEXTS = 4, 3, 3, 2
TEXT = Batch.of([[2, 4, 3], [2, 5, 3]])


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def symbols(**more) -> Symbols:
    made = Symbols(H, **{"dim": L, "categories": K, "hidden": 5, "embedding": 3, "prior": "learned", **more}).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(2)
    return made


def dialogue(**more) -> Dialogue:
    return Dialogue(H // 2, **{"dim": 2, "questions": 2, "answers": 3, "hidden": 5, "embedding": 3, **more}).double()


CASES = {
    "variable": symbols, "least": lambda: symbols(least=2), "fixed": lambda: symbols(fixed=True),
    "uniform": lambda: symbols(prior="uniform"), "dialogue": dialogue, "memory": lambda: dialogue(memory=True),
}  # fmt: skip


@pytest.fixture(params=CASES)
def latent(request):
    return CASES[request.param]()


def posterior(latent) -> Sequences:
    return latent.posterior(latent.params(torch.randn(TEXTS, H).double()))


# --- the distribution ------------------------------------------------------------------------------------------------


def test_the_masses_of_all_sequences_sum_to_one(latent):
    for q in (posterior(latent), latent.prior()):
        every = q.enumerate_support()
        assert len(every) == count(q.policy) == configurations(q) == latent.configurations
        assert len(every.flatten(1).unique(dim=0)) == len(every), "no sequence twice"
        torch.testing.assert_close(q.log_prob(every).exp().sum(0), torch.ones(q.batch_shape).double())


def test_lengths_from_the_least_to_the_most_have_all_the_mass():
    q = posterior(symbols(least=1))
    every = q.enumerate_support()
    lengths, mass = q.lengths(every)[:, 0], q.log_prob(every).exp()
    assert sorted({*lengths.tolist()}) == [1, 2, 3]
    each = torch.stack([mass[lengths == length].sum(0) for length in (1, 2, 3)])
    assert (each > 0).all()
    torch.testing.assert_close(each.sum(0), torch.ones(TEXTS).double())


def test_draws_occur_as_often_as_their_masses_say(latent):
    q, draws = posterior(latent), 20_000
    every = q.enumerate_support()
    drawn = q.sample((draws,))
    seen = torch.stack([(drawn == value).all(-1).all(-1).double().mean(0) for value in every])
    mass = q.log_prob(every).exp()
    error = (mass * (1 - mass) / draws).sqrt()
    assert ((seen - mass).abs() <= 5 * error + 1e-9).all()


def test_a_draw_is_scored_with_the_probabilities_it_was_drawn_with(latent, monkeypatch: pytest.MonkeyPatch):
    q, other = posterior(latent), latent.prior()
    drawn = q.sample((3,))
    parameters = [*latent.speaker.parameters()]
    anew = Sequences(q.policy, q.params).log_prob(drawn.clone())
    with monkeypatch.context() as patch:
        patch.setattr(latent.speaker, "listen", lambda *_: pytest.fail("heard twice"))
        scored, seen = q.log_prob(drawn), q.steps(drawn.flatten(-2).unflatten(-1, q.event_shape))
    torch.testing.assert_close(scored, anew)
    torch.testing.assert_close(seen.sum(-1), anew)
    for mine, fresh in zip(*(torch.autograd.grad(each.sum(), parameters, allow_unused=True) for each in (scored, anew)),
                           strict=True):  # fmt: skip
        assert (mine is None) == (fresh is None)
        if mine is not None:
            torch.testing.assert_close(mine, fresh)
    with torch.no_grad():
        quiet = q.sample((2,))
    assert q.log_prob(quiet).requires_grad, "what was drawn without gradients is scored with them"
    with torch.inference_mode():
        silent = q.sample((2,))
        first = q.log_prob(silent)
        silent[:] = silent.flip(0)
        torch.testing.assert_close(q.log_prob(silent), first.flip(0))
    q.log_prob(drawn)
    drawn[:2] = drawn[1:].clone()  # another sequence in the same tensor
    torch.testing.assert_close(q.log_prob(drawn), Sequences(q.policy, q.params).log_prob(drawn.clone()))
    for value in (drawn[:1], drawn.transpose(0, 1).contiguous().transpose(0, 1)):
        q.log_prob(drawn)
        torch.testing.assert_close(q.log_prob(value), Sequences(q.policy, q.params).log_prob(value.clone()))
    torch.testing.assert_close(other.log_prob(drawn), Sequences(other.policy, other.params).log_prob(drawn.clone()))


@pytest.mark.parametrize("memory", [False, True])
def test_what_the_questioner_hears_is_that_of_the_posterior_of_the_same_texts(memory: bool):
    latent = dialogue(memory=memory)
    params, others = (torch.randn(TEXTS, H).double() for _ in range(2))
    q = latent.posterior(params)
    code = latent.code(q.sample((3,)))
    found = [latent.listened(code, params), latent.listened(code.clone(), params.clone())]
    torch.testing.assert_close(*found)
    assert found[0].requires_grad
    assert not torch.equal(latent.listened(code, others), found[0])


@pytest.mark.parametrize("memory", [False, True])
def test_games_alike_have_the_probabilities_and_gradients_of_games_one_by_one(
    memory: bool, monkeypatch: pytest.MonkeyPatch
):
    latent = dialogue(memory=memory)
    kinds = torch.randn(3, H).double()
    features = kinds[torch.tensor([0, 1, 0, 2, 0, 1])].requires_grad_()
    value = latent.posterior(features).sample((4,))
    cells = []
    latent.speaker.answerer.register_forward_hook(lambda _, given, made: cells.append(len(given[0])))

    def found() -> list[torch.Tensor]:
        q = Sequences(latent.speaker, features)
        weights = torch.arange(24.0).view(4, 6).double()
        heard = latent.listened(latent.code(value.clone()), features)
        total = (weights * (q.log_prob(value.clone()) + heard.square().sum(-1))).sum()
        return [total, *torch.autograd.grad(total, [*latent.speaker.parameters()])]

    together, few = found(), max(cells)
    cells.clear()
    every = lambda rows: (torch.arange(len(rows)),) * 2  # noqa: E731
    monkeypatch.setattr("lvexp.latents.dialogue.alike", every)
    monkeypatch.setattr("lvexp.latents.dialogue.told_apart", lambda of, words, _: (of, words, torch.arange(len(of))))
    for mine, alone in zip(together, found(), strict=True):
        torch.testing.assert_close(mine, alone)
    assert few < max(cells) == 24


def test_nothing_after_the_end_counts():
    latent = symbols()
    q, end = posterior(latent), latent.speaker.end
    drawn = q.sample((200,))
    ended = drawn[..., end].cumsum(-1) > 0
    assert (drawn[..., end] == ended).all(), "after the end there is nothing else"
    assert ended.any()
    assert not ended.all()
    steps = q.steps(drawn)
    assert (steps[..., 1:][ended[..., :-1]] == 0).all(), "and it costs nothing"
    assert (q.divergence(latent.prior(), drawn)[..., 1:][ended[..., :-1]] == 0).all()
    short = drawn.clone()
    short[..., 1:, :] = 0
    short[..., 1:, end] = 1  # cut after the first symbol
    first = torch.zeros(3, K + 1).double()
    first[0, 0], first[1:, end] = 1, 1
    told = latent.code(short[short[..., 0, 0] == 1][:, None])
    torch.testing.assert_close(told, latent.code(first[None, None]).expand_as(told))
    assert (latent.code(torch.nn.functional.one_hot(torch.full((1, 1, 3), end), K + 1).double()) == 0).all()


def test_a_sequence_is_no_shorter_than_the_least():
    q = posterior(symbols(least=2))
    assert q.lengths(q.sample((500,))).min() == 2
    with pytest.raises(ConfigError, match=r"latent.dim=3"):
        symbols(least=4)


def test_the_mode_takes_the_most_probable_symbol_each_time(latent):
    q = posterior(latent)
    walk = q.read(q.mode)
    alive = walk.alive.bool()
    assert (walk.value.argmax(-1) == walk.log_p.argmax(-1))[alive].all()


def test_each_speaker_of_a_dialogue_has_its_own_symbols():
    drawn = posterior(dialogue()).sample((500,)).argmax(-1)
    assert drawn[..., ::2].unique().tolist() == [0, 1]
    assert drawn[..., 1::2].unique().tolist() == [0, 1, 2]


def test_without_memory_an_answer_depends_on_the_last_question_alone():
    talks, remembers = dialogue(), dialogue(memory=True)
    for latent, same in ((talks, True), (remembers, False)):
        q = posterior(latent)
        with torch.no_grad():
            walk = q.read(q.enumerate_support())
        answers = walk.log_p.view(-1, TEXTS, *walk.log_p.shape[1:])[:, 0, 3]
        asked = walk.value.view(-1, TEXTS, *walk.value.shape[1:])[:, 0, 2].argmax(-1)
        spread = max(float(answers[asked == symbol].exp().std(0).max()) for symbol in (0, 1))
        assert (spread < 1e-12) == same


def test_draws_of_each_text_are_scored_under_the_posterior_of_every_other(latent):
    q = posterior(latent)
    drawn = q.sample((4,))
    every = q.log_prob(drawn.unsqueeze(2))
    assert every.shape == (4, TEXTS, TEXTS)
    torch.testing.assert_close(every.diagonal(dim1=1, dim2=2), q.log_prob(drawn))
    one = Sequences(q.policy, q.params[1])
    torch.testing.assert_close(every[..., 1], one.log_prob(drawn))


def test_what_cannot_be_enumerated_says_so():
    many = symbols(dim=12)
    assert many.configurations is None
    assert configurations(posterior(many)) is None
    with pytest.raises(ConfigError, match="no end of"):
        Enumerate()(posterior(many), 1)


# --- rates and gradients ---------------------------------------------------------------------------------------------


def test_the_rate_is_the_sum_over_all_sequences(latent):
    q, p = posterior(latent), latent.prior()
    every = q.enumerate_support()
    log_q, log_p = q.log_prob(every), p.log_prob(every)
    exact = (log_q.exp() * (log_q - log_p)).sum(0)
    torch.testing.assert_close(rate(q, p, enumerated(q))[0], exact)
    drawn = torch.stack([rate(q, p, Draw.equal(q.sample((100,))))[0] for _ in range(50)])
    assert ((drawn.mean(0) - exact).abs() <= 5 * drawn.std(0) / math.sqrt(50)).all()
    uniform = log_p
    if isinstance(latent, Dialogue):
        torch.testing.assert_close(uniform.exp().max(0).values, torch.full((TEXTS,), 1 / 36).double())


def table(latent, q: Sequences) -> torch.Tensor:
    """A cost for every sequence, linear in no symbol."""
    weight = torch.randn(q.event_shape.numel(), 7, generator=torch.Generator().manual_seed(1)).double()
    bias = torch.randn(TEXTS, 7, generator=torch.Generator().manual_seed(2)).double()
    return lambda value: 3 + 2 * (value.flatten(-2) @ weight + bias).tanh().sum(-1)


def gradient(latent, features, estimator: AbstractEstimator, samples: int, priced: bool = True):
    """The value of cost and rate and the gradient of their sum with respect to q's parameters."""
    latent.zero_grad()
    q = latent.posterior(latent.params(features))
    draw = estimator.draw(q, samples)
    cost = table(latent, q)(draw.value)
    control = estimator.control(cost, TEXT)
    total = (expect(cost, draw, control.baseline, control.scale)).sum()
    if priced:
        total = total + rate(q, latent.prior(), draw)[0].sum()
    total.backward()
    found = [part.grad.flatten() for part in latent.inference_parameters() if part.grad is not None]
    return total.item(), torch.cat(found)


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("case", ["variable", "fixed", "dialogue"])
def test_the_score_gradient_is_that_of_the_sum_over_all_sequences(case: str, baseline: str):
    latent, features = CASES[case](), torch.randn(TEXTS, H).double()
    value, exact = gradient(latent, features, Enumerate(), 1)
    estimator = Score(baseline, width=4)
    estimator.attach(10)
    found = [gradient(latent, features, estimator, 40) for _ in range(120)]
    values, gradients = torch.tensor([one for one, _ in found]), torch.stack([one for _, one in found])
    assert abs(values.mean() - value) <= 5 * values.std() / math.sqrt(len(found))
    error = gradients.std(0) / math.sqrt(len(found))
    apart = (gradients.mean(0) - exact).abs()
    assert (apart <= 5 * error + 1e-9).all()
    assert exact.abs().max() > 5 * error.max(), "the error bars are small enough to tell"


@pytest.mark.parametrize("estimator", [Gumbel(0.7, hard=True), StraightThrough()])
def test_hard_draws_have_the_value_of_the_sum_over_all_sequences(latent, estimator: AbstractEstimator):
    features = torch.randn(TEXTS, H).double()
    value, exact = gradient(latent, features, Enumerate(), 1)
    found = [gradient(latent, features, estimator, 40) for _ in range(60)]
    values = torch.tensor([one for one, _ in found])
    assert abs(values.mean() - value) <= 5 * values.std() / math.sqrt(len(found))
    mean = torch.stack([one for _, one in found]).mean(0)
    assert torch.cosine_similarity(mean, exact, dim=0) > 0.5, "biased, but not away from it"


def test_straight_through_is_exact_where_the_cost_is_linear_in_the_first_symbol(latent):
    features, weight = torch.randn(TEXTS, H).double(), torch.randn(K + 1).double()

    def of(estimator: AbstractEstimator, samples: int) -> torch.Tensor:
        latent.zero_grad()
        draw = estimator.draw(latent.posterior(latent.params(features)), samples)
        expect((draw.value[..., 0, :] * weight[: draw.value.shape[-1]]).sum(-1), draw).sum().backward()
        return torch.cat([p.grad.flatten() for p in latent.inference_parameters() if p.grad is not None])

    torch.testing.assert_close(of(StraightThrough(), 3), of(Enumerate(), 1))


def test_the_gradient_of_relaxed_draws_is_that_of_their_cost(latent):
    """With the noise held fixed, against differences."""
    features = torch.randn(TEXTS, H).double()
    estimator, weights = Gumbel(0.7), [*latent.inference_parameters()]

    def cost() -> torch.Tensor:
        torch.manual_seed(3)
        q = latent.posterior(latent.params(features))
        draw = estimator.draw(q, 4)
        return (expect(table(latent, q)(draw.value), draw) + rate(q, latent.prior(), draw)[0]).sum()

    latent.zero_grad()
    cost().backward()
    for weight in weights:
        if weight.grad is None:
            continue
        at = int(weight.grad.abs().argmax())
        with torch.no_grad():
            flat, step = weight.view(-1), 1e-5
            flat[at] += step
            above = cost()
            flat[at] -= 2 * step
            below = cost()
            flat[at] += step
        torch.testing.assert_close(weight.grad.view(-1)[at], (above - below) / (2 * step), rtol=1e-4, atol=1e-7)


def test_relaxed_draws_are_mixtures_that_end_no_later_than_their_weight_says():
    latent = symbols()
    q, end = posterior(latent), latent.speaker.end
    value = q.relaxed(50, 1.0, hard=False)
    torch.testing.assert_close(value.sum(-1), torch.ones(50, TEXTS, L).double())
    assert (value[..., 1:, end] >= value[..., :-1, end] - 1e-12).all()
    cold = q.relaxed(50, 1e-3, hard=False)
    assert ((cold > 0.999) | (cold < 0.001)).double().mean() > 0.99
    drawn = q.sample((50,))
    torch.testing.assert_close(q.log_prob(drawn), q.steps(drawn).sum(-1))


def test_a_subset_of_all_sequences_is_exact():
    latent, features = symbols(dim=1), torch.randn(TEXTS, H).double()
    value, exact = gradient(latent, features, Enumerate(), 1, priced=False)
    found = gradient(latent, features, Subset(), 3000, priced=False)
    assert found[0] == pytest.approx(value, rel=1e-6)
    torch.testing.assert_close(found[1], exact)


def test_auto_enumerates_a_few_and_scores_many():
    assert len(Auto().draw(posterior(symbols(dim=2)), 1).value) == 13
    assert len(Auto().draw(posterior(symbols()), 2).value) == 2
