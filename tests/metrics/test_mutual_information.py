from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import tiny
import torch
from torch.distributions import Bernoulli, Categorical, Independent

from lvexp.data.batch import Batch
from lvexp.distributions.onehot import OneHot
from lvexp.distributions.support import support
from lvexp.latents.gaussian import Gaussian
from lvexp.metrics.mutual_information import (
    MutualInformation,
    _each,
    exact_mutual_information,
    minibatch_mutual_information,
    mutual_information,
)
from lvexp.reading import Reading

POSTERIOR = Gaussian(1, 1).posterior


def params(means, log_variance=0.0):
    """Posterior parameters of one-dimensional Gaussians."""
    means = torch.as_tensor(means, dtype=torch.float32)[:, None]
    return torch.cat([means, torch.full_like(means, log_variance)], 1)


def draw(parameters):
    torch.manual_seed(0)
    return POSTERIOR(parameters).sample()


def test_equal_posteriors_tell_nothing():
    same = params([0.7] * 50)
    assert mutual_information(POSTERIOR, same, draw(same)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("texts", [2, 50, 300])
def test_separate_posteriors_tell_all(texts):
    apart = params(100.0 * torch.arange(texts))
    assert mutual_information(POSTERIOR, apart, draw(apart)) == pytest.approx(math.log(texts), abs=1e-6)


def test_two_overlapping_components_against_quadrature():
    """Half the texts at -1, half at 1, unit variance: I = H(mixture) - H(N(0, 1))."""

    def minus_p_log_p(z):
        p = (scipy.stats.norm.pdf(z - 1) + scipy.stats.norm.pdf(z + 1)) / 2
        return -p * np.log(p)

    entropy, _ = scipy.integrate.quad(minus_p_log_p, -12, 12)
    exact = entropy - scipy.stats.norm.entropy()
    overlapping = params([-1.0, 1.0] * 2000)
    # one term has a standard deviation of about 0.4, the mean of 4000 one of 0.006
    assert mutual_information(POSTERIOR, overlapping, draw(overlapping)) == pytest.approx(exact, abs=0.025)
    assert exact == pytest.approx(0.337, abs=0.001)


def test_rows_at_once_do_not_matter():
    torch.manual_seed(1)
    some = torch.randn(37, 2)
    value = draw(some)
    whole = mutual_information(POSTERIOR, some, value)
    assert whole > 0.05
    for numbers in (1, 100, 37 * 5):
        assert mutual_information(POSTERIOR, some, value, numbers) == pytest.approx(whole, abs=1e-9)


def test_by_hand_in_several_dimensions():
    torch.manual_seed(2)
    some, posterior = torch.randn(5, 6), Gaussian(1, 3).posterior
    value = posterior(some).sample()
    mean, deviation = some[:, :3].numpy(), (0.5 * some[:, 3:]).exp().numpy()
    log_q = np.array(
        [[scipy.stats.norm.logpdf(z, m, s).sum() for m, s in zip(mean, deviation, strict=True)] for z in value.numpy()]
    )
    by_hand = np.mean([log_q[i, i] - np.log(np.exp(log_q[i]).mean()) for i in range(5)])
    assert mutual_information(posterior, some, value) == pytest.approx(by_hand, rel=1e-5)


def test_discrete_posteriors():
    certain = 50.0 * torch.eye(6)
    assert mutual_information(lambda logits: Categorical(logits=logits), certain, torch.arange(6)) == pytest.approx(
        math.log(6)
    )
    value = torch.tensor([0, 3, 2, 1, 5, 4])
    uniform = mutual_information(lambda logits: Categorical(logits=logits), torch.zeros(6, 6), value)
    assert uniform == pytest.approx(0, abs=1e-6)


def _bits(logits):
    return Independent(Bernoulli(logits=logits), 1)


@pytest.mark.parametrize("posterior", [lambda logits: OneHot(logits=logits), _bits])
def test_exact_is_the_information_of_the_joint_table(posterior):
    """H(z) - H(z|x) of the table q(z|x)/N, as scipy takes entropies, and what many draws come to."""
    torch.manual_seed(4)
    logits = 2 * torch.randn(9, 4)
    table = posterior(logits).log_prob(support(posterior(logits))).exp().T.numpy()  # [N, S]
    known = scipy.stats.entropy(table.mean(0)) - scipy.stats.entropy(table, axis=1).mean()
    assert exact_mutual_information(posterior, logits) == pytest.approx(known, rel=1e-5)
    assert exact_mutual_information(posterior, logits, numbers=1) == pytest.approx(known, rel=1e-5)
    draws = [mutual_information(posterior, logits, posterior(logits).sample()) for _ in range(2000)]
    assert np.mean(draws) == pytest.approx(known, abs=4 * np.std(draws) / 2000**0.5)


def test_exact_of_certain_and_of_equal_posteriors():
    certain = OneHot(logits=torch.zeros(1, 3)).logits + torch.where(torch.eye(3) > 0, 0.0, -200.0)
    for logits, known in ((certain, math.log(3)), (torch.ones(5, 3), 0)):
        found = exact_mutual_information(lambda logits: OneHot(logits=logits), logits)
        assert found == pytest.approx(known, abs=1e-6)


def test_the_metric_sums_over_a_small_z_and_draws_of_a_large_one():
    for dim, exact in ((3, True), (9, False)):
        model = tiny.model("binary", dim=dim).eval()
        metric = MutualInformation(model.latent.posterior, size=4)
        for batch in tiny.corpus():
            with torch.no_grad():
                metric.update(model.terms(batch))
        found, (_, params, value, lengths) = metric.compute(), metric._kept()
        assert found["mi_exact"] is exact
        used = None if exact else value[None]
        assert found["mi_batch"] == minibatch_mutual_information(model.latent.posterior, params, used, lengths, 4)
        by_draw = mutual_information(model.latent.posterior, params, value)
        assert found["mi"] == (exact_mutual_information(model.latent.posterior, params) if exact else by_draw)
        assert (found["mi"] != by_draw) is exact


def test_minibatches_by_hand():
    torch.manual_seed(3)
    some = torch.randn(5, 2)
    value, lengths = draw(some), torch.tensor([4, 2, 9, 3, 4])
    log_q = POSTERIOR(some).log_prob(value[:, None]).double()

    def group(*rows):  # the sum over a group
        mixed = [log_q[i, list(rows)].exp().mean().log() for i in rows]
        return float(sum(log_q[i, i] - m for i, m in zip(rows, mixed, strict=True)))

    by_hand = (group(1, 3) + group(0, 4) + group(2)) / 5  # in order of length, ties in order of text
    assert minibatch_mutual_information(POSTERIOR, some, value[None], lengths, 2) == pytest.approx(by_hand, abs=1e-6)


def test_minibatch_figure_is_capped_at_the_size():
    apart = params(100.0 * torch.arange(64))
    lengths = torch.full((64,), 5)
    assert minibatch_mutual_information(POSTERIOR, apart, draw(apart)[None], lengths, 32) == pytest.approx(math.log(32))


@pytest.mark.parametrize("size", [7, 100])
def test_a_long_stream_is_thinned_evenly(size):
    """The texts come sorted by length; those kept must not be the shortest."""
    model = tiny.model()
    metric = MutualInformation(model.latent.posterior, limit=20)
    for rows in torch.arange(1000).split(size):
        batch = Batch(tokens=torch.full((len(rows), 2), 2), lengths=rows)  # lengths stand for row numbers
        nothing = Reading(torch.zeros(len(rows), 7))
        metric.update(model.terms(batch, params=torch.zeros(len(rows), 6), reading=nothing))
    assert metric.compute()["mi_n"] == 20
    kept = metric._kept()[3].sort().values
    gaps = kept.diff(prepend=torch.tensor([0]), append=torch.tensor([1000]))
    assert gaps.max() <= 100  # 50 would be perfect
    assert len(kept.unique()) == 20


def test_metric_measures_what_the_functions_do():
    model, metric = tiny.model().eval(), MutualInformation(tiny.model().latent.posterior, size=4)
    for batch in tiny.corpus():
        with torch.no_grad():
            metric.update(model.terms(batch))
    found = metric.compute()
    _, params, value, lengths = metric._kept()
    assert found["mi_n"] == 11
    assert len(params) == 11
    assert found["mi"] == mutual_information(model.latent.posterior, params, value)
    assert found["mi_batch"] == minibatch_mutual_information(model.latent.posterior, params, value[None], lengths, 4)
    assert 0 < found["mi_batch"] < math.log(4)
    assert found["mi_batch"] < found["mi"] <= math.log(11)


@pytest.mark.parametrize("numbers", [1, 40, 2**21])
def test_several_draws_of_each_text_are_taken_each_by_itself(numbers: int):
    some = torch.randn(5, 2)
    values = torch.stack([POSTERIOR(some).sample() for _ in range(3)])
    each = _each(POSTERIOR, some, values, numbers)
    assert each.shape == (3, 5)
    for found, value in zip(each, values, strict=True):
        assert float(found.mean()) == pytest.approx(mutual_information(POSTERIOR, some, value), abs=1e-9)
    lengths = torch.tensor([3, 1, 2, 5, 4])
    alone = [minibatch_mutual_information(POSTERIOR, some, value[None], lengths, 2) for value in values]
    assert minibatch_mutual_information(POSTERIOR, some, values, lengths, 2) == pytest.approx(sum(alone) / 3, abs=1e-9)
